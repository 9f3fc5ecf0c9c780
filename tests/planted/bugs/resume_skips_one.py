"""A feed goes on one position after the cursor that it is given.
A reader that comes back misses a change."""

from hanse import World, simulation
from hanse.service.log_reader import LogReader

from . import follower, instead

honest = LogReader.position


@instead(LogReader)
async def position(self: LogReader, cursor: str) -> int:
    return await honest(self, cursor) + 1


@simulation(follower.setup, seconds=follower.SECONDS)
async def resume_skips_one(world: World) -> None:
    await follower.story(world)
