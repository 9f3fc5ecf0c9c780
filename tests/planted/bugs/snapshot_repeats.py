"""After a snapshot, changes are told that it had already.
A reader sees them twice."""

from typing import Any

from hanse import World, simulation
from hanse.service.change import Change
from hanse.service.feed import Feed
from hanse.store.base import Entry

from . import follower, instead


@instead(Feed)
def _since(self: Feed[Any], entry: Entry, revisions: dict[str, int]) -> Change[Any] | None:
    return self._view(entry)


@simulation(follower.setup, seconds=follower.SECONDS)
async def snapshot_repeats(world: World) -> None:
    await follower.story(world)
