"""A dump that is written into a store piece by piece, each in a transaction of its own.

The state says which load is under way: until that is over, commits neither write nor mark, and the newest position is
none. What a load that was killed has left is removed by the next one, as the state tells.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import pymongo
from pymongo import ReadPreference

from hanse.kernel.codec import canonical
from hanse.kernel.faults import Malformed, NotFound, Unavailable
from hanse.store.base import CollectionSchema, Position
from hanse.store.dump import Entries, Marks, Moment, Piece, Positions, Rows, base_after, not_empty
from hanse.store.mongodb.failures import is_twice
from hanse.store.mongodb.layout import schemas_in
from hanse.store.mongodb.link import LASTING, OF_ONE_MOMENT, STATE, Document, Link, Session
from hanse.store.mongodb.query import rows_name
from hanse.store.mongodb.writing import entry_document, mark_document, row_document, state_of

WRITE_SECONDS = 50.0
"""For which one piece may take to be written; the server ends a transaction after 60 by itself."""

REMOVE_SECONDS = 600.0
"""For which it may take to remove what a load has left of one kind."""


class Restoring:
    """Writes a dump into a store where there is nothing."""

    def __init__(self, link: Link, schemas: Mapping[str, CollectionSchema], log_id: str) -> None:
        """Begin.

        Args:
            link: To the server.
            schemas: Of the collections that are open.
            log_id: That the log gets; the load has the same.
        """
        self._link = link
        self._state = link.books("state")
        self._schemas = schemas
        self._log_id = log_id
        self._own: Document = {"_id": STATE, "loading": log_id}
        self._keyed: dict[str, Sequence[CollectionSchema]] = {}
        self._positions: list[Position] = []

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece]) -> None:
        """Write all of it; where that fails, remove what was written.

        Args:
            moment: Of the dump.
            pieces: Of the dump.

        Raises:
            StoreNotEmpty: Something is stored already.
            NotFound: It has rows of a collection that is not open.
            Malformed: It holds something twice.
            Unavailable: Others opened the store, or loaded another dump into it.
        """
        await self._begin()
        try:
            async for piece in pieces:
                await self._write(piece)
            await self._finish(moment)
        except BaseException:
            with suppress(Exception):
                await self._give_up()
            raise

    async def _begin(self) -> None:
        async with self._link.session() as session:
            stored = await schemas_in(self._link, session)
            before = await self._state.find_one_and_update(
                {"_id": STATE}, {"$set": {"loading": self._log_id}}, session=session
            )
            if before is None:
                raise Unavailable(f"the store {self._link.place} is gone: somebody has removed its collections")
            self._own = {**self._own, "shape": state_of(before).shape, "head": before["head"]}
            self._keyed = {
                name: (schema,) if (other := stored.get(name, schema)) == schema else (other, schema)
                for name, schema in self._schemas.items()
            }
            if "loading" in before:
                await self._remove(session)
            elif what := await self._holding([*stored], session):
                await self._leave(session)
                raise not_empty(what)

    async def _holding(self, collections: Sequence[str], session: Session) -> str:
        """Something that is stored; empty if nothing is."""
        books = {"log": "entries of the log", "marks": "marks", **{rows_name(one): one for one in collections}}
        for name, what in books.items():
            if await self._link.books(name).find_one({}, {"_id": 1}, session=session):
                return what
        return ""

    async def _write(self, piece: Piece) -> None:
        match piece:
            case Rows(collection, rows):
                if collection not in self._schemas:
                    raise NotFound("collection", collection)
                keyed = self._keyed[collection]
                await self._insert(rows_name(collection), [{"_id": row.id, **row_document(row, keyed)} for row in rows])
            case Entries(entries):
                await self._insert("log", [entry_document(one, canonical(one.headers)) for one in entries])
            case Marks(marks):
                await self._insert("marks", [mark_document(one.mark, one.at) for one in marks])
            case Positions(positions):
                self._positions.extend(positions)

    async def _insert(self, books: str, documents: list[Document]) -> None:
        async def insert(session: Session) -> None:
            await self._touch({"$inc": {"loaded": 1}}, session)
            _ = await self._link.books(books).insert_many(documents, session=session)

        await self._at_once(insert)

    async def _finish(self, moment: Moment) -> None:
        """Have it take effect: the positions of before go, that of the load among them."""
        done: Document = {
            "$set": {"head": base_after(moment), "trimmed": moment.trimmed, "log_id": self._log_id},
            "$unset": {"loading": "", "loaded": ""},
        }

        async def finish(session: Session) -> None:
            await self._touch(done, session)
            positions = self._link.books("positions")
            _ = await positions.delete_many({}, session=session)
            if self._positions:
                documents: list[Document] = [{"_id": one.name, "seq": one.seq} for one in self._positions]
                _ = await positions.insert_many(documents, session=session)

        await self._at_once(finish)

    async def _touch(self, update: Document, session: Session) -> None:
        """Write the state first, as all commits do: only where it is that of this load."""
        if not (await self._state.update_one(self._own, update, session=session)).matched_count:
            raise Unavailable(
                f"nothing was loaded into the store {self._link.place}: another load, or a node that opened the "
                "store, came in between; stop the nodes, then load it again"
            )

    async def _at_once(self, write: Callable[[Session], Awaitable[None]]) -> None:
        """Write in a transaction, tried again where others are in the way."""
        try:
            async with self._link.session() as session:
                with pymongo.timeout(WRITE_SECONDS):
                    await session.with_transaction(
                        write, OF_ONE_MOMENT, LASTING, read_preference=ReadPreference.PRIMARY
                    )
                self._link.saw(session)
        except Exception as error:
            if is_twice(error):
                raise Malformed(f"the dump holds something twice: {error}") from None
            raise

    async def _give_up(self) -> None:
        """Remove what was written, unless another load is under way by now."""
        async with self._link.session() as session:
            if await self._state.find_one({"_id": STATE, "loading": self._log_id}, session=session):
                await self._remove(session)
                await self._leave(session)

    async def _remove(self, session: Session) -> None:
        for name in ("log", "marks", *map(rows_name, await schemas_in(self._link, session))):
            with pymongo.timeout(REMOVE_SECONDS):
                _ = await self._link.books(name).delete_many({}, session=session)

    async def _leave(self, session: Session) -> None:
        own: Document = {"_id": STATE, "loading": self._log_id}
        _ = await self._state.update_one(own, {"$unset": {"loading": "", "loaded": ""}}, session=session)
        self._link.saw(session)
