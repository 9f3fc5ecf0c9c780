"""A feed that has read the log forgets the wake-ups that came while it told of what it read.
Its reader hears of the last changes with the next ones, or never."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from hanse import World, simulation
from hanse.service.feed import Feed
from hanse.store.base import Entry

from . import follower, instead


@instead(Feed)
async def _entries(self: Feed[Any], seq: int) -> AsyncIterator[Entry]:
    wake = asyncio.Event()
    stop = self._store.listen(wake.set)
    try:
        while True:
            piece = await self._piece(seq)
            for entry in piece.entries:
                yield entry
            if not piece.more:
                wake.clear()
                await wake.wait()
            seq = piece.upto
    finally:
        stop()


@simulation(follower.setup, seconds=follower.SECONDS)
async def wake_up_lost(world: World) -> None:
    await follower.story(world)
