"""A service's rows in a schema of PostgreSQL.

What survives what: a commit that returned survives the end of this process and of the server, and a power cut of its
machine, as the server is asked whether it keeps what it commits. Many processes on many machines may share a store:
their commits stay in one order, one group after the other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self, cast, final

import msgspec

from hanse.kernel.context import current
from hanse.kernel.faults import Fault, NotFound
from hanse.kernel.host import Host
from hanse.kernel.message import Headers
from hanse.store.base import (
    CHANGES_MAX,
    WINDOW_MAX,
    Changes,
    CollectionSchema,
    Entry,
    Found,
    Mark,
    Op,
    Row,
)
from hanse.store.cursor import decode_cursor
from hanse.store.dump import Dump, Moment, Piece
from hanse.store.evaluate import check_query, page_of
from hanse.store.postgresql.committer import Committer
from hanse.store.postgresql.copying import Restoring, dumped
from hanse.store.postgresql.failures import LostError, raise_meaning
from hanse.store.postgresql.link import Dialer, Record, driver
from hanse.store.postgresql.news import News
from hanse.store.postgresql.pool import Pool
from hanse.store.postgresql.query import count_sql, find_sql, table_name
from hanse.store.postgresql.tables import prepare
from hanse.store.postgresql.url import PostgresqlUrl, parse_url
from hanse.store.query import Query
from hanse.store.remote.store import RemoteStore
from hanse.store.sql import Statement, identifier
from hanse.store.text import meant, written

SCAN_SECONDS = 60.0
"""For which a search may take."""

TRIM_MAX = 10_000
"""Entries, and marks, forgotten in one transaction at most, so that commits get their turn."""

_SEQ_MAX = 2**63 - 1
_OPS = {op.value: op for op in Op}
_headers = msgspec.msgpack.Decoder(Headers).decode


class _Open(msgspec.Struct, frozen=True, eq=False):
    """What there is while a store is open."""

    dialer: Dialer
    pool: Pool
    committer: Committer


@final
class PostgresqlStore(RemoteStore[PostgresqlUrl, _Open]):
    """Rows and their log in one schema, which many processes may share.

    Example:
        >>> PostgresqlStore.from_url("postgresql://ada@localhost/shop?schema=orders").features
        Features(durable=True, shared=True)
    """

    def __init__(self, url: PostgresqlUrl, *, host: Host | None = None) -> None:
        """Name the schema; `open` opens it.

        Args:
            url: Where it is.
            host: Clock, chance and ids; by default, the host of the context that opens the store.
        """
        super().__init__(url, host=host)
        self._place = identifier(url.schema)
        self._load_sql: dict[str, str] = {}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of a URL such as `postgresql://user:password@host:5432/database?schema=orders`.

        Raises:
            Misconfigured: The URL is not of that form, has an option with a value that it cannot have, or the driver is
                not installed.
        """
        _ = driver()
        return cls(parse_url(url))

    async def open(self, collections: Sequence[CollectionSchema]) -> None:
        """Open the schema, making it where it is missing.

        Raises:
            CouldNotStart: It is not ours, of a newer format, or holds rows that cannot be read as these collections; or
                the server is too old, only reads, or may forget what it commits.
            Misconfigured: The driver is not installed.
            Unavailable: The server cannot be reached.
        """
        host = self._host or current().host
        dialer = Dialer(self._url, host)
        link = await dialer.dial()
        try:
            opened = await prepare(link, self._url, collections, host.new_id())
        except BaseException as error:
            broken = link.is_closed() and not isinstance(error, Fault)
            link.terminate()
            if isinstance(error, Exception):
                raise_meaning(LostError(str(error)) if broken else error, self._url.place)
            raise
        self._log_id = opened.log_id
        self._schemas = {one.name: opened.schemas[one.name] for one in collections}
        self._load_sql = {
            name: f"SELECT rev, value FROM {self._place}.{identifier(table_name(name))} WHERE id = $1"
            for name in self._schemas
        }
        mine = msgspec.structs.replace(opened, schemas=self._schemas)
        news = News(dialer, self._url.schema, self._crew.heard)
        committer = Committer(dialer, self._place, mine, self._crew.committed)
        committer.use(link)
        self._open = _Open(dialer, Pool(dialer, self._url.connections), committer)
        self._crew.start(committer.apply, news)

    async def close(self) -> None:
        """Finish commits in flight and let go."""
        one, self._open = self._open, None
        if one is None:
            return
        try:
            await self._crew.close()
        finally:
            await one.committer.leave()
            await one.pool.close()

    async def load(self, collection: str, id: str, /) -> Row | None:
        """One row, or None."""
        found = await self._read(self._loading(collection), (written(id),))
        return Row(id, *cast("tuple[int, bytes]", tuple(cast("Sequence[object]", found[0])))) if found else None

    def _loading(self, collection: str) -> str:
        statement = self._load_sql.get(collection)
        if statement is None:
            raise NotFound("collection", collection)
        return statement

    async def find(self, collection: str, query: Query, /) -> Found:
        """A page of matching rows."""
        schema = self._schema(collection)
        check_query(query)
        start = decode_cursor(query.cursor, query, schema) if query.cursor is not None else None
        rows = await self._scan(find_sql(query, schema, start, self._place))
        return page_of([_row(one) for one in rows], query, schema)

    async def count(self, collection: str, query: Query, /) -> int:
        """How many rows match."""
        found = await self._scan(count_sql(query.where, self._schema(collection), self._place))
        return cast("int", found[0][0])

    async def marked(self, scope: str, key: str, /) -> Mark | None:
        """The mark, if it was made."""
        statement = f"SELECT digest, result FROM {self._place}.marks WHERE scope = $1 AND key = $2"
        found = await self._read(statement, (written(scope), written(key)))
        return Mark(scope, key, cast("bytes", found[0][0]), cast("bytes", found[0][1])) if found else None

    async def position(self, name: str, /) -> int:
        """How far the named reader has come."""
        found = await self._read(f"SELECT seq FROM {self._place}.positions WHERE name = $1", (written(name),))
        return cast("int", found[0][0]) if found else 0

    async def head(self) -> int:
        """Position of the newest entry."""
        found = await self._read(f"SELECT head FROM {self._place}.state", ())
        return cast("int", found[0][0])

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        """Entries after a position; at most `CHANGES_MAX`, over at most `WINDOW_MAX` positions."""
        limit, reach = min(limit, CHANGES_MAX), after + WINDOW_MAX
        # What the log reaches from and to, and then the entries: in one statement, so that all of it is of one moment.
        ends, *lines = await self._read(
            "SELECT NULL::bigint AS seq, NULL::float8, NULL, NULL, NULL, NULL, NULL::bytea, NULL::bytea, "
            f"head, trimmed, NULL::bytea FROM {self._place}.state UNION ALL "
            "(SELECT seq, at, op, name, id, message_id, before, after, before_rev, 0, headers "
            f"FROM {self._place}.log WHERE seq > $1 AND seq <= $2 AND ($4::text[] IS NULL OR name = ANY ($4::text[])) "
            "ORDER BY seq LIMIT $3)",
            (
                min(after, _SEQ_MAX),
                min(reach, _SEQ_MAX),
                limit + 1,
                None if names is None else [written(one) for one in names],
            ),
        )
        head, trimmed = cast("int", ends[8]), cast("int", ends[9])
        if after < trimmed:
            return msgspec.structs.replace(await self.changes(trimmed, limit=limit, names=names), trimmed=True)
        end = max(min(reach, head), after)
        if not lines and end < head:
            end = await self._before_next(end, head)
        entries = tuple(_entry(line) for line in lines[:limit])
        upto = entries[-1].seq if len(entries) == limit else end
        return Changes(entries, upto, more=upto < head)

    async def _before_next(self, end: int, head: int) -> int:
        """Where positions are left out, as a restored store does: right before the next entry."""
        ((beyond, trimmed),) = cast(
            "list[tuple[int, int]]",
            await self._read(
                f"SELECT coalesce((SELECT min(seq) - 1 FROM {self._place}.log WHERE seq > $1), $2), trimmed "
                f"FROM {self._place}.state",
                (end, head),
            ),
        )
        # Should the log have been trimmed just now, that is told to whoever goes on from here.
        return beyond if trimmed <= end else end

    async def trim(self, before: float, /, *, keep_after: int) -> int:
        """Forget the oldest entries, up to the first that is to be kept, and the marks from before."""
        entries = marks = TRIM_MAX
        total = 0
        while TRIM_MAX in (entries, marks):
            ((entries, marks),) = cast(
                "list[tuple[int, int]]", await self._read(self._trim_sql(), (before, min(keep_after, _SEQ_MAX)))
            )
            total += entries
        return total

    def _trim_sql(self) -> str:
        """Forgets `TRIM_MAX` entries and marks; run again, it does no harm."""
        place = self._place
        return (
            f"WITH oldest AS (SELECT seq, at FROM {place}.log ORDER BY seq LIMIT {TRIM_MAX}), "
            "upto AS (SELECT coalesce((SELECT min(seq) FROM oldest WHERE at >= $1 OR seq > $2), "
            "(SELECT max(seq) + 1 FROM oldest), 0) AS seq), "
            f"gone AS (DELETE FROM {place}.log WHERE seq < (SELECT seq FROM upto) RETURNING 1), "
            f"told AS (UPDATE {place}.state SET trimmed = greatest(trimmed, (SELECT seq - 1 FROM upto)) "
            "WHERE trimmed < (SELECT seq - 1 FROM upto) RETURNING 1), "
            f"old AS (DELETE FROM {place}.marks WHERE ctid IN "
            f"(SELECT ctid FROM {place}.marks WHERE at < $1 LIMIT {TRIM_MAX}) RETURNING 1) "
            "SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM old)"
        )

    @asynccontextmanager
    async def dump(self) -> AsyncGenerator[Dump]:
        """All that is stored, read in one transaction; see `hanse.store.dump.Dumpable`."""
        async with dumped(self._opened().dialer, self._place, [*self._schemas]) as dump:
            yield dump

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], /) -> None:
        """Take in a dump, in one transaction; see `hanse.store.dump.Dumpable`."""
        dialer = self._opened().dialer
        link, log_id = await dialer.dial(), dialer.reach.host.new_id()
        try:
            await Restoring(link, self._place, self._schemas).restore(moment, pieces, log_id)
        except Exception as error:  # noqa: BLE001 - it is raised as what it means
            broken = link.is_closed() and not isinstance(error, Fault)
            raise_meaning(LostError(str(error)) if broken else error, self._url.place)
        finally:
            link.terminate()
        self._log_id = log_id

    async def _scan(self, statement: Statement) -> Sequence[Record]:
        return await self._read(statement.text, statement.values, SCAN_SECONDS)

    async def _read(self, statement: str, values: Sequence[object], seconds: float | None = None) -> Sequence[Record]:
        return await self._opened().pool.fetch(statement, values, seconds=seconds)


def _row(found: Record) -> Row:
    return Row(meant(cast("str", found[0])), cast("int", found[1]), cast("bytes", found[2]))


_Line = tuple[int, float, str, str, str, str, bytes | None, bytes | None, int, int, bytes]


def _entry(line: Record) -> Entry:
    seq, at, op, name, id, message_id, before, after, rev, _, headers = cast("_Line", tuple(cast("_Line", line)))
    return Entry(seq, at, _OPS[op], meant(name), meant(id), meant(message_id), before, after, rev, _headers(headers))
