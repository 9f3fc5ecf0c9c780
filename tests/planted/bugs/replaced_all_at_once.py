"""All instances of an old build go as soon as one of the new is ready.
A restart leaves one instance where there have to be several."""

from collections.abc import Iterator, Sequence

from hanse import World, simulation
from hanse.control import supervisor_machine
from hanse.control.desired import Desired
from hanse.control.instances import Instance

from . import instead, supervised

replaced_in_turn = supervisor_machine._replaced


@instead(supervisor_machine)
def _replaced(wanted: Desired, fresh: Sequence[Instance], stale: Sequence[Instance]) -> Iterator[str]:
    if wanted.port:
        yield from replaced_in_turn(wanted, fresh, stale)
    elif any(one.phase == "ready" for one in fresh):
        yield from (one.name for one in stale)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def replaced_all_at_once(world: World) -> None:
    await supervised.story(world)
