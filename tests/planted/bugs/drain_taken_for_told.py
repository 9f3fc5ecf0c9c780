"""Who takes over believes that the edge was told of all that drains.
An instance is told to end that the edge still sends requests to."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import supervisor_heard
from hanse.control.instances import Instance

from . import instead, supervised


@instead(supervisor_heard)
def _found(one: Instance, pid: int, now: float, *, seen: int) -> Instance:
    return replace(one, looking=False, watched=False, look_at=now if one.look_at else 0.0, pid=pid)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def drain_taken_for_told(world: World) -> None:
    await supervised.story(world)
