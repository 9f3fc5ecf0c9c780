"""An instance counts as ready when it was looked at, whatever was seen.
Requests are sent to a process that does not listen yet."""

from hanse import World, simulation
from hanse.control import supervisor_heard
from hanse.control.desired import Desired
from hanse.control.instances import Instance

from . import instead, supervised

after_look = supervisor_heard._after_look


@instead(supervisor_heard)
def _after_look(one: Instance, why: str, wanted: Desired, now: float) -> Instance:
    return after_look(one, "" if one.phase == "starting" else why, wanted, now)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def traffic_before_ready(world: World) -> None:
    await supervised.story(world)
