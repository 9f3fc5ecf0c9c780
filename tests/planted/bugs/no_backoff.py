"""Who ends is started anew at once, however often it has ended.
What cannot run takes all of a machine for its starts."""

from hanse import World, simulation
from hanse.control import supervisor_heard

from . import instead, supervised


@instead(supervisor_heard)
def backoff(failures: int, draw: float) -> float:
    return 0.0


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def no_backoff(world: World) -> None:
    await supervised.story(world)
