"""How one process hears that others have committed: a change stream on the state, and a look now and then.

What the stream does not tell, as it broke or the server has none, is made up for by looking at the newest position.
How often, depends on whether there is a stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast, final

import pymongo

from hanse.store.mongodb.link import STATE, Document, Link
from hanse.store.remote.hearing import LOOK_SECONDS, Hearing

_log = logging.getLogger("hanse.store.mongodb")

STREAM_SECONDS = 5.0
"""For which the stream may say nothing, not even that there is nothing; then it is begun anew."""

_COMMITS: list[Document] = [
    {"$match": {"documentKey._id": STATE}},
    {"$project": {"updateDescription.updatedFields": 1}},
]


@final
class News:
    """Hears of commits to one store."""

    def __init__(self, link: Link, heard: Callable[[], None]) -> None:
        """Know nothing yet.

        Args:
            link: To the server.
            heard: Told that others have committed.
        """
        self._link = link
        self._hearing = Hearing(link.reach, _log, heard)

    def tell(self, head: int) -> None:
        """This process has committed up to a position."""
        self._hearing.told(head)

    async def run(self) -> None:
        """Hear, until cancelled."""
        await self._hearing.run(self._follow)

    async def _follow(self) -> None:
        # So that a store is looked at all the same where its server has no streams.
        await self._look()
        books = self._link.books("state")
        async with await books.watch(_COMMITS, max_await_time_ms=int(LOOK_SECONDS * 1_000)) as stream:
            # What was committed before the stream began.
            await self._look()
            self._hearing.well()
            while True:
                with pymongo.timeout(STREAM_SECONDS):
                    change = await stream.try_next()
                if change is None:
                    await self._look()
                else:
                    self._hearing.see(_head_in(change))

    async def _look(self) -> None:
        found = await self._link.ask(
            lambda session: self._link.books("state").find_one({"_id": STATE}, {"head": 1}, session=session)
        )
        if found is not None:
            self._hearing.see(cast("int", found["head"]))


def _head_in(change: Document) -> int:
    """The newest position that a change of the state tells of; 0 where it is of something else."""
    described = cast("dict[str, Document]", change.get("updateDescription") or {})
    return cast("int", described.get("updatedFields", {}).get("head", 0))
