"""A feed goes on one position before the cursor that it is given.
A reader that comes back sees a change again."""

from hanse import World, simulation
from hanse.service.log_reader import LogReader

from . import follower, instead

honest = LogReader.position


@instead(LogReader)
async def position(self: LogReader, cursor: str) -> int:
    return max(0, await honest(self, cursor) - 1)


@simulation(follower.setup, seconds=follower.SECONDS)
async def resume_repeats_one(world: World) -> None:
    await follower.story(world)
