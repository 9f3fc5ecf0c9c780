"""It is forgotten how often an instance has ended lately.
What cannot run is started for ever, and nobody is told."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import supervisor_heard
from hanse.control.desired import Desired
from hanse.control.instances import Instance
from hanse.control.supervisor_words import Ended

from . import instead, supervised

after_end = supervisor_heard._after_end


@instead(supervisor_heard)
def _after_end(one: Instance, event: Ended, wanted: Desired, now: float, *, alone: bool) -> Instance:
    return after_end(replace(one, exits=(), failures=0), event, wanted, now, alone=alone)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def never_given_up(world: World) -> None:
    await supervised.story(world)
