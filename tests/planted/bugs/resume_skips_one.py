"""A feed goes on one position after the cursor that it is given.
A reader that comes back misses a change."""

from typing import Any

from hanse import World, simulation
from hanse.service.feed import Feed

from . import follower, instead

position = Feed._position


@instead(Feed)
async def _position(self: Feed[Any], cursor: str) -> int:
    return await position(self, cursor) + 1


@simulation(follower.setup, seconds=follower.SECONDS)
async def resume_skips_one(world: World) -> None:
    await follower.story(world)
