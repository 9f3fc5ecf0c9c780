"""A service's rows in a database of MongoDB.

What survives what: a commit that returned is in the journals of most members of the replica set, so it survives the end
of this process, of the server, and an election. Many processes on many machines may share a store: their commits stay
in one order, one group after the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar, cast, final

import msgspec
import pymongo

from hanse.kernel.context import current
from hanse.kernel.faults import Unavailable
from hanse.store.base import (
    CHANGES_MAX,
    WINDOW_MAX,
    Changes,
    CollectionSchema,
    Found,
    Mark,
    Row,
)
from hanse.store.cursor import decode_cursor
from hanse.store.dump import Dump, Moment, Piece
from hanse.store.evaluate import check_query, page_of, predicate, value_of
from hanse.store.mongodb.committer import Committer
from hanse.store.mongodb.dumping import dumped, let_trim
from hanse.store.mongodb.failures import raise_meaning
from hanse.store.mongodb.layout import Opened, prepare
from hanse.store.mongodb.link import OF_ONE_MOMENT, STATE, Document, Link, Session
from hanse.store.mongodb.news import News
from hanse.store.mongodb.query import Filter, asked, finding, rows_name
from hanse.store.mongodb.restoring import Restoring
from hanse.store.mongodb.url import MongodbUrl, parse_url
from hanse.store.mongodb.writing import entry_of, mark_id, mark_of, row_of
from hanse.store.query import Query
from hanse.store.remote.store import RemoteStore

T = TypeVar("T")

SCAN_SECONDS = 60.0
"""For which a search, or what is trimmed at once, may take."""

TRIM_MAX = 10_000
"""Positions that are forgotten in one command at most."""

CLOSE_SECONDS = 1.0
"""For which the server has the time to be told that this process writes no more."""

_SEQ_MAX = 2**63 - 1
_ROW = {"rev": 1, "value": 1}


class _Open(msgspec.Struct, frozen=True, eq=False):
    """What there is while a store is open."""

    link: Link
    opened: Opened
    session: Session


@final
class MongodbStore(RemoteStore[MongodbUrl, _Open]):
    """Rows and their log in some collections, which many processes may share.

    Example:
        >>> MongodbStore.from_url("mongodb://ada@localhost/shop?prefix=orders").features
        Features(durable=True, shared=True)
    """

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of a URL such as `mongodb://user:password@host:27017/database?prefix=orders`.

        Raises:
            Misconfigured: The URL is not of that form, or has an option with a value that it cannot have.
        """
        return cls(parse_url(url))

    async def open(self, collections: Sequence[CollectionSchema]) -> None:
        """Open the collections, making those that are missing.

        Raises:
            CouldNotStart: They are not ours, of a newer format, or hold rows that cannot be read as they are declared;
                or the server is too old, or by itself, without transactions.
            Misconfigured: The driver does not take the URL.
            Unavailable: The server cannot be reached.
        """
        link = Link(self._url, self._host or current().host)
        session = link.client.start_session(causal_consistency=True)
        try:
            opened = await prepare(link, session, collections)
        except BaseException as error:
            await session.end_session()
            await link.close()
            if isinstance(error, Exception):
                raise_meaning(error, self._url.place)
            raise
        self._log_id = opened.log_id
        self._schemas = {one.name: opened.schemas[one.name] for one in collections}
        mine = msgspec.structs.replace(opened, schemas=self._schemas)
        news = News(link, self._crew.heard)
        self._open = _Open(link, mine, session)
        self._crew.start(Committer(link, mine, session, self._crew.committed).apply, news)

    async def close(self) -> None:
        """Finish commits in flight and let go."""
        one, self._open = self._open, None
        if one is None:
            return
        try:
            await self._crew.close()
        finally:
            await _leave(one)

    async def load(self, collection: str, id: str, /) -> Row | None:
        """One row, or None."""
        rows = rows_name(self._schema(collection).name)
        found = await self._read(lambda link, session: link.books(rows).find_one({"_id": id}, _ROW, session=session))
        return row_of(found) if found is not None else None

    async def find(self, collection: str, query: Query, /) -> Found:
        """A page of matching rows."""
        schema = self._schema(collection)
        check_query(query)
        start = decode_cursor(query.cursor, query, schema) if query.cursor is not None else None
        how = finding(query, schema, start)
        test = None if how.exact else predicate(query.where, schema)
        wanted = query.limit + 1

        async def search(link: Link, session: Session) -> list[Row]:
            rows: list[Row] = []
            found = link.books(rows_name(collection)).find(how.filter, _ROW, sort=list(how.sort), session=session)
            async with found.limit(wanted if test is None else 0).allow_disk_use(True) as cursor:  # noqa: FBT003
                async for one in cursor:
                    row = row_of(one)
                    if test is None or test(value_of(row)):
                        rows.append(row)
                        if len(rows) == wanted:
                            break
            return rows

        return page_of(await self._read(search, SCAN_SECONDS), query, schema)

    async def count(self, collection: str, query: Query, /) -> int:
        """How many rows match."""
        schema = self._schema(collection)
        how = asked(query.where, schema)
        if how.exact:
            return await self._read(lambda link, session: _counted(link, collection, how.filter, session), SCAN_SECONDS)
        test = predicate(query.where, schema)

        async def scan(link: Link, session: Session) -> int:
            found = 0
            async with link.books(rows_name(collection)).find(how.filter, _ROW, session=session) as cursor:
                async for one in cursor:
                    found += test(value_of(row_of(one)))
            return found

        return await self._read(scan, SCAN_SECONDS)

    async def marked(self, scope: str, key: str, /) -> Mark | None:
        """The mark, if it was made."""
        id = mark_id(scope, key)
        found = await self._read(lambda link, session: link.books("marks").find_one({"_id": id}, session=session))
        return mark_of(found) if found else None

    async def position(self, name: str, /) -> int:
        """How far the named reader has come."""
        found = await self._read(lambda link, session: link.books("positions").find_one({"_id": name}, session=session))
        return int(cast("int", found["seq"])) if found else 0

    async def head(self) -> int:
        """Position of the newest entry."""
        return int(cast("int", (await self._state())["head"]))

    async def _state(self) -> Document:
        found = await self._read(lambda link, session: link.books("state").find_one({"_id": STATE}, session=session))
        if found is None:
            raise Unavailable(f"the store {self._url.place} is gone: somebody has removed its collections")
        return found

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        """Entries after a position; at most `CHANGES_MAX`, over at most `WINDOW_MAX` positions."""
        limit, reach = min(limit, CHANGES_MAX), after + WINDOW_MAX
        # What the log reaches from and to, and the entries, of one moment.
        pipeline = _changes(self._url, (min(after, _SEQ_MAX), min(reach, _SEQ_MAX)), limit, names)

        async def question(link: Link, _: Session) -> list[Document]:
            # A session that comes after something cannot ask for one moment as well; this process sees its own commits
            # in that moment all the same, as a majority had them before it was told.
            return await (await link.books("state", OF_ONE_MOMENT).aggregate(pipeline)).to_list()

        found = await self._read(question)
        ends = next((one for one in found if one["_id"] == STATE), None)
        if ends is None:
            raise Unavailable(f"the store {self._url.place} is gone: somebody has removed its collections")
        head, trimmed = int(cast("int", ends["head"])), int(cast("int", ends["trimmed"]))
        if after < trimmed:
            return msgspec.structs.replace(await self.changes(trimmed, limit=limit, names=names), trimmed=True)
        end = max(min(reach, head), after)
        entries = tuple(sorted(map(entry_of, (one for one in found if one is not ends)), key=lambda one: one.seq))
        if not entries and end < head:
            return await self._beyond(after, limit, names)
        upto = entries[-1].seq if len(entries) == limit else end
        return Changes(entries, upto, more=upto < head)

    async def _beyond(self, after: int, limit: int, names: Sequence[str] | None) -> Changes:
        """The log where a piece of it has nothing: a store that was loaded has left out many positions."""
        following: Filter = {"_id": {"$gt": after}}
        found = await self._read(
            lambda link, session: link.books("log").find_one(following, {"_id": 1}, sort=[("_id", 1)], session=session)
        )
        state = await self._state()
        # What is trimmed is told before it goes: the entry that was found may not be the one that followed.
        if cast("int", state["trimmed"]) > after:
            return await self.changes(after, limit=limit, names=names)
        head = int(cast("int", state["head"]))
        upto = max(after, head if found is None else int(cast("int", found["_id"])) - 1)
        if upto < after + WINDOW_MAX:
            upto = min(after + WINDOW_MAX, head)
        return Changes((), upto, more=upto < head)

    async def trim(self, before: float, /, *, keep_after: int) -> int:
        """Forget the oldest entries, up to the first that is to be kept, and the marks from before."""
        if not await self._read(let_trim):
            return 0
        head = await self.head()
        stays: Filter = {"$or": [{"at": {"$gte": before}}, {"_id": {"$gt": min(keep_after, _SEQ_MAX)}}]}
        first = await self._read(
            lambda link, session: link.books("log").find_one(stays, {"_id": 1}, sort=[("_id", 1)], session=session),
            SCAN_SECONDS,
        )
        upto = head if first is None else cast("int", first["_id"]) - 1
        gone = await self._read(lambda link, session: _forget(link, min(head, upto), session), SCAN_SECONDS)
        _ = await self._read(
            lambda link, session: link.books("marks").delete_many({"at": {"$lt": before}}, session=session),
            SCAN_SECONDS,
        )
        return gone

    @asynccontextmanager
    async def dump(self) -> AsyncGenerator[Dump]:
        """All that is stored, as of one moment; see `hanse.store.dump.Dumpable`.

        Of two dumps of one store at a time, the one that began first is cut short and says so.
        """
        async with dumped(self._opened().link, [*self._schemas]) as dump:
            yield dump

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], /) -> None:
        """Take in a dump; see `hanse.store.dump.Dumpable`. Until all of it is there, no commit writes or marks."""
        link = self._opened().link
        log_id = link.host.new_id()
        try:
            await Restoring(link, self._schemas, log_id).restore(moment, pieces)
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            raise_meaning(error, link.place)
        self._log_id = log_id

    def _schema(self, collection: str) -> CollectionSchema:
        _ = self._opened()
        return super()._schema(collection)

    async def _read(self, question: Callable[[Link, Session], Awaitable[T]], seconds: float | None = None) -> T:
        link = self._opened().link
        return await link.ask(lambda session: question(link, session), seconds=seconds)


async def _leave(one: _Open) -> None:
    """Say good-bye; who does not get that far is forgotten after a day."""
    with suppress(Exception), pymongo.timeout(CLOSE_SECONDS):
        _ = await one.link.books("state").update_one({"_id": STATE}, {"$unset": {one.opened.author.field: ""}})
    with suppress(Exception):
        await one.session.end_session()
    await one.link.close()


async def _counted(link: Link, collection: str, filter: Filter, session: Session) -> int:  # noqa: A002
    return await link.books(rows_name(collection)).count_documents(filter, session=session)


def _changes(url: MongodbUrl, span: tuple[int, int], limit: int, names: Sequence[str] | None) -> list[Document]:
    wanted: Filter = {"_id": {"$gt": span[0], "$lte": span[1]}}
    if names is not None:
        wanted["name"] = {"$in": list(names)}
    entries: list[Document] = [{"$match": wanted}, {"$sort": {"_id": 1}}, {"$limit": limit}]
    return [
        {"$match": {"_id": STATE}},
        {"$project": {"head": 1, "trimmed": 1}},
        {"$unionWith": {"coll": url.collection("log"), "pipeline": entries}},
    ]


async def _forget(link: Link, upto: int, session: Session) -> int:
    """Whoever reads is told first that it is gone, so that nobody finds a gap."""
    log = link.books("log")
    undumped: Document = {"_id": STATE, "dump": {"$exists": False}}
    if not (await link.books("state").update_one(undumped, {"$max": {"trimmed": upto}}, session=session)).matched_count:
        return 0  # a dump has begun
    gone, wanted = 0, {"_id": {"$lte": upto}}
    while oldest := await log.find_one(wanted, {"_id": 1}, sort=[("_id", 1)], session=session):
        # Not as many as there are positions: a store that was loaded has left out many of them.
        end = min(cast("int", oldest["_id"]) + TRIM_MAX - 1, upto)
        gone += (await log.delete_many({"_id": {"$lte": end}}, session=session)).deleted_count
    return gone
