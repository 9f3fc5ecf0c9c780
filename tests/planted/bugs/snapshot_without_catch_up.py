"""A snapshot begins to follow the log where it ended to be read, and not where it began.
What was written meanwhile is missed."""

from collections.abc import AsyncIterator
from typing import Any

from hanse import Existing, Ready, World, simulation
from hanse.service.change import cursor_of
from hanse.service.feed import Feed
from hanse.store.query import PAGE_MAX, Query

from . import follower, instead


@instead(Feed)
async def _snapshot(self: Feed[Any]) -> AsyncIterator[Existing[Any] | Ready]:
    found = await self._store.find(self._shape.collection, Query(self._where, limit=PAGE_MAX))
    for row in found.rows:
        yield Existing(self._shape.read(row.value, row.id, row.rev))
    yield Ready(cursor_of(self._store.log_id, await self._store.head()))


@simulation(follower.setup, seconds=follower.SECONDS)
async def snapshot_without_catch_up(world: World) -> None:
    await follower.story(world)
