"""A feed goes on one position before the cursor that it is given.
A reader that comes back sees a change again."""

from typing import Any

from hanse import World, simulation
from hanse.service.feed import Feed

from . import follower, instead

position = Feed._position


@instead(Feed)
async def _position(self: Feed[Any], cursor: str) -> int:
    return max(0, await position(self, cursor) - 1)


@simulation(follower.setup, seconds=follower.SECONDS)
async def resume_repeats_one(world: World) -> None:
    await follower.story(world)
