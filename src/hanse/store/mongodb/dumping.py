"""A whole store, as of one moment, read beside whoever writes, for as long as it takes.

A server has what was for five minutes, where that is not set to be longer, and some not at all. So what was at the
moment is made of what is: the log has what rows were before they were changed, and while a dump is taken, marks say
that they were made since. Positions, which have no history, are read in the transaction that begins the dump.
The state says which dump is taken, and nothing is trimmed meanwhile. An older version that writes is noticed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import cast

import pymongo
from pymongo import ReadPreference

from hanse.kernel.faults import Unavailable
from hanse.store.base import CHANGES_MAX, Entry, Position, Row
from hanse.store.dump import PIECE_MAX, Dump, Entries, MarkAt, Marks, Moment, Piece, Positions, Rows, cut
from hanse.store.mongodb.failures import raise_meaning
from hanse.store.mongodb.link import LASTING, OF_ONE_MOMENT, STATE, Document, Link, Session
from hanse.store.mongodb.query import rows_name
from hanse.store.mongodb.writing import entry_of, mark_of, row_of
from hanse.store.undoing import Undoing

BEGIN_SECONDS = 30.0
"""For which a dump tries to begin, against others who write."""

PIECE_SECONDS = 60.0
"""For which one piece may take to be read."""

DUMP_SECONDS = 600.0
"""For which a dump may wait for whoever takes it; then the store may be trimmed again, which ends it."""

RENEW_SECONDS = 60.0
"""After which it says that it is still taken."""

END_SECONDS = 1.0


@asynccontextmanager
async def dumped(link: Link, collections: Sequence[str]) -> AsyncGenerator[Dump]:
    """All that a store holds, each piece read after the one before.

    Args:
        link: To the server.
        collections: Whose rows are wanted.
    """
    async with link.session() as session:
        reading = _Reading(link, session)
        try:
            yield Dump(await reading.begin(), reading.told(collections))
        finally:
            with suppress(Exception), pymongo.timeout(END_SECONDS):
                await reading.end()


async def let_trim(link: Link, session: Session) -> bool:
    """Whether nothing is to be kept for a dump; one that nobody takes any more is ended."""
    state = link.books("state")
    found = await state.find_one({"_id": STATE, "dump": {"$exists": True}}, {"dump": 1}, session=session)
    if found is None:
        return True
    dump = cast("Document", found["dump"])
    now = cast("datetime", cast("Document", await link.client.admin.command("hello"))["localTime"])
    if now - cast("datetime", dump["at"]) < timedelta(seconds=DUMP_SECONDS):
        return False
    _ = await state.update_one({"_id": STATE, "dump.id": dump["id"]}, {"$unset": {"dump": ""}}, session=session)
    return True


class _Reading:
    """Reads what was at one moment."""

    def __init__(self, link: Link, session: Session) -> None:
        self._link = link
        self._session = session
        self._id = link.host.new_id()
        self._moment = Moment("", 0, 0)
        self._older: Document = {}
        self._positions: list[Position] = []
        self._undoing = Undoing(0)
        self._renewed = 0.0

    async def begin(self) -> Moment:
        try:
            with pymongo.timeout(BEGIN_SECONDS):
                await self._session.with_transaction(
                    self._begun, OF_ONE_MOMENT, LASTING, read_preference=ReadPreference.PRIMARY
                )
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            raise_meaning(error, self._link.place)
        self._renewed = self._link.host.monotonic()
        self._undoing = Undoing(self._moment.head)
        return self._moment

    async def _begun(self, session: Session) -> None:
        """In a transaction, which writes what all commits write: so none is under way at its moment."""
        update: Document = {"$set": {"dump.id": self._id}, "$currentDate": {"dump.at": True}}
        _ = await self._link.books("state").update_one({"_id": STATE}, update, session=session)
        found = await self._link.books("state").find_one({"_id": STATE}, session=session)
        if found is None:
            raise Unavailable(f"the store {self._link.place} is gone: somebody has removed its collections")
        self._older = _older(found)
        self._moment = Moment(
            cast("str", found["log_id"]), int(cast("int", found["head"])), int(cast("int", found["trimmed"]))
        )
        positions = await self._link.books("positions").find({}, session=session).sort("_id").to_list()
        self._positions = [Position(cast("str", one["_id"]), int(cast("int", one["seq"]))) for one in positions]

    async def end(self) -> None:
        own: Document = {"_id": STATE, "dump.id": self._id}
        _ = await self._link.books("state").update_one(own, {"$unset": {"dump": ""}}, session=self._session)

    async def told(self, collections: Sequence[str]) -> AsyncGenerator[Piece]:
        try:
            async for piece in self._pieces(collections):
                yield piece
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            raise_meaning(error, self._link.place)

    async def _pieces(self, collections: Sequence[str]) -> AsyncIterator[Piece]:
        for name in collections:
            async for rows in self._rows(name):
                for piece in cut(rows):
                    yield Rows(name, piece)
        after, head = self._moment.trimmed, self._moment.head
        while entries := await self._entries(after, head, PIECE_MAX):
            _ = await self._go_on()
            yield Entries(entries)
            after = entries[-1].seq
        async for found in self._found("marks", {"dump": {"$ne": self._id}}):
            _ = await self._go_on()
            yield Marks([MarkAt(mark_of(one), cast("float", one["at"])) for one in found])
        for positions in cut(self._positions):
            yield Positions(positions)

    async def _rows(self, collection: str) -> AsyncIterator[list[Row]]:
        last: str | None = ""
        async for found in self._found(rows_name(collection), {}):
            last = cast("str", found[-1]["_id"])
            await self._catch_up()
            yield self._undoing.rows(collection, [row_of(one) for one in found], last)
        await self._catch_up()
        yield self._undoing.rows(collection, [], None)

    async def _found(self, books: str, wanted: Document) -> AsyncIterator[list[Document]]:
        """What matches, in the order of ids."""
        after: Document = {}
        while True:
            with pymongo.timeout(PIECE_SECONDS):
                asked = self._link.books(books).find({**wanted, **after}, session=self._session)
                found = await asked.sort("_id").limit(PIECE_MAX).to_list()
            if not found:
                return
            yield found
            after = {"_id": {"$gt": found[-1]["_id"]}}

    async def _catch_up(self) -> None:
        """See all that was changed until now."""
        head = await self._go_on()
        while self._undoing.upto < head:
            entries = await self._entries(self._undoing.upto, head, CHANGES_MAX)
            self._undoing.saw(entries, entries[-1].seq if len(entries) == CHANGES_MAX else head)

    async def _entries(self, after: int, upto: int, limit: int) -> list[Entry]:
        span: Document = {"_id": {"$gt": after, "$lte": upto}}
        with pymongo.timeout(PIECE_SECONDS):
            asked = self._link.books("log").find(span, session=self._session)
            return [entry_of(one) for one in await asked.sort("_id").limit(limit).to_list()]

    async def _go_on(self) -> int:
        """Make sure that all is kept that the dump needs, and was until now; the newest position.

        Raises:
            Unavailable: It was not.
        """
        state, host = self._link.books("state"), self._link.host
        own: Document = {"_id": STATE, "dump.id": self._id, "log_id": self._moment.log_id}
        with pymongo.timeout(PIECE_SECONDS):
            if host.monotonic() - self._renewed > RENEW_SECONDS:
                _ = await state.update_one(own, {"$currentDate": {"dump.at": True}}, session=self._session)
                self._renewed = host.monotonic()
            found = await state.find_one(own, session=self._session)
        if found is None:
            raise Unavailable(
                f"the dump of the store {self._link.place} was cut short: another one began, or it was left alone for "
                "too long; dump it again, one at a time"
            )
        if found["trimmed"] != self._moment.trimmed or _older(found) != self._older:
            raise Unavailable(
                f"the dump of the store {self._link.place} was cut short: an older version of the service, which does "
                "not know of dumps, changed it; upgrade or stop all of its nodes, then dump it again"
            )
        return int(cast("int", found["head"]))


def _older(state: Document) -> Document:
    """How often those have written that do not know of dumps."""
    writers = cast("dict[str, Document]", state.get("writers") or {})
    return {id: one.get("n") for id, one in writers.items() if not one.get("dumps")}
