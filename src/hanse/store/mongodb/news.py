"""How one process hears that others have committed: a change stream on the state, and a look now and then.

What the stream does not tell, as it broke or the server has none, is made up for by looking at the newest position.
How often, depends on whether there is a stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast, final

import pymongo

from hanse.store.mongodb.link import STATE, Document, Link

_log = logging.getLogger("hanse.store.mongodb")

LOOK_SECONDS = 2.0
"""How often the newest position is looked at by who hears news."""

LOOK_SECONDS_DEAF = 0.2
"""How often by who does not."""

STREAM_SECONDS = 10.0
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
        self._heard = heard
        self._head = 0
        self._why = ""

    def tell(self, head: int) -> None:
        """This process has committed up to a position."""
        self._head = max(self._head, head)

    async def run(self) -> None:
        """Hear, until cancelled."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - it is told once, and tried again
                if not self._why:
                    _log.warning("no news of the store %s: %s; looking again", self._link.place, error)
                self._why = str(error) or type(error).__name__
            await asyncio.sleep(max(self._link.reach.pause(), LOOK_SECONDS_DEAF))
            await self._look_anyway()

    async def _follow(self) -> None:
        books = self._link.books("state")
        async with await books.watch(_COMMITS, max_await_time_ms=int(LOOK_SECONDS * 1_000)) as stream:
            # What was committed before the stream began.
            await self._look()
            self._why = ""
            while True:
                with pymongo.timeout(STREAM_SECONDS):
                    change = await stream.try_next()
                if change is None:
                    await self._look()
                else:
                    self._see(_head_in(change))

    async def _look_anyway(self) -> None:
        try:
            await self._look()
        except Exception as error:  # noqa: BLE001 - what is wrong was told, and is tried again
            _log.debug("the store %s cannot be looked at: %s", self._link.place, error)

    async def _look(self) -> None:
        found = await self._link.ask(
            lambda session: self._link.books("state").find_one({"_id": STATE}, {"head": 1}, session=session)
        )
        if found is not None:
            self._see(cast("int", found["head"]))

    def _see(self, head: int) -> None:
        if head > self._head:
            self._head = head
            self._heard()


def _head_in(change: Document) -> int:
    """The newest position that a change of the state tells of; 0 where it is of something else."""
    described = cast("dict[str, Document]", change.get("updateDescription") or {})
    return cast("int", described.get("updatedFields", {}).get("head", 0))
