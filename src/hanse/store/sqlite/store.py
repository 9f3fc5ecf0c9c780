"""A service's rows in one SQLite file.

What survives what: a commit that returned survives kill -9 of the process, always. A power cut or a crash of the
operating system never corrupts the file, but may cost the commits of the last moments; with `synchronous="full"`
(`?synchronous=full` on the URL) each commit waits for the disk, and that costs none.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, Self, cast, final

import msgspec

from hanse.kernel.context import current
from hanse.kernel.faults import Misconfigured, NotFound, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers
from hanse.store.base import (
    CHANGES_MAX,
    WINDOW_MAX,
    Batch,
    Changes,
    CollectionSchema,
    Entry,
    Features,
    Found,
    Mark,
    Op,
    Row,
)
from hanse.store.cursor import decode_cursor, encode_cursor
from hanse.store.dump import Dump, Moment, Piece
from hanse.store.evaluate import check_query
from hanse.store.group import is_late
from hanse.store.keys import Key
from hanse.store.listeners import Listeners
from hanse.store.query import Query
from hanse.store.sql import Statement
from hanse.store.sqlite.boots import HEAD, unnote
from hanse.store.sqlite.copying import Restoring, moment_of, pieces_of
from hanse.store.sqlite.desk import Desk, InlineDesk, Stopped, ThreadDesk
from hanse.store.sqlite.disk import Disk, LocalDisk
from hanse.store.sqlite.failures import raise_meaning
from hanse.store.sqlite.query import count_sql, find_sql, table_name
from hanse.store.sqlite.tables import BUSY_MS_MAX, Opening, cannot_open, patiently, prepare, require_version
from hanse.store.sqlite.url import parse_url
from hanse.store.sqlite.writer import TRIM_MAX, Writer

POLL_SECONDS = 0.2
"""How often a store that somebody listens to looks for commits of other processes."""

STOP_CHECK_STEPS = 20_000
"""Steps of SQLite's machine after which a long read looks whether anybody still waits for it."""

_MEMORY = ":memory:"
_OPS = {op.value: op for op in Op}
_headers = msgspec.msgpack.Decoder(Headers).decode
_MARKED = "SELECT digest, result FROM marks WHERE scope = ? AND key = ?"
_POSITION = "SELECT seq FROM positions WHERE name = ?"
_BEFORE_NEXT = (
    "SELECT coalesce((SELECT min(seq) - 1 FROM log WHERE seq > ?), ?), (SELECT value FROM meta WHERE name = 'trimmed')"
)
# What the log reaches from and to, and then the entries: in one statement, so that all of it is of one moment.
_PIECE = (
    f"SELECT NULL AS seq, ({HEAD}), (SELECT value FROM meta WHERE name = 'trimmed'), "
    "NULL, NULL, NULL, NULL, NULL, NULL, NULL "
    "UNION ALL SELECT seq, at, op, name, id, message_id, before, after, before_rev, headers "
    "FROM log WHERE seq > ? AND seq <= ?"
)
_SEQ_MAX = 2**63 - 1


@final
class SqliteStore:
    """Rows and their log in one file, which several processes may share.

    Example:
        >>> async def main() -> Row | None:
        ...     store = SqliteStore(":memory:")
        ...     await store.open([CollectionSchema("orders", {})])
        ...     await store.commit(Batch(at=0.0, writes=(Put("orders", "1", b'{"sku":"tea"}', "m1"),)))
        ...     row = await store.load("orders", "1")
        ...     await store.close()
        ...     return row
        >>> from hanse.store.base import Put
        >>> asyncio.run(main())
        Row(id='1', rev=1, value=b'{"sku":"tea"}')
    """

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Literal["normal", "full"] = "normal",
        desk: Desk | None = None,
        host: Host | None = None,
        disk: Disk | None = None,
    ) -> None:
        """Name the file; `open` opens it.

        Args:
            path: The file, made where it is missing; `:memory:` for one that lives with this object.
            synchronous: `full` makes each commit survive a power cut, at the price of a disk flush.
            desk: Where work runs; by default, in threads of its own (`:memory:` needs none).
            host: Gives a new log its id; by default, the host of the context that opens the store.
            disk: Where the file is; by default, on this machine. One that is given keeps `:memory:` as well.

        Raises:
            Misconfigured: The path is empty, or `:memory:` is to be shared among threads.
        """
        self.commits: int = 0
        """Batches committed; see `CountsCommits`."""
        self.late: int = 0
        """Batches that it refused as late; see `CountsLate`."""
        self._path = str(path)
        memory = self._path == _MEMORY
        self._desk: Desk = desk or (InlineDesk() if memory else ThreadDesk())
        if not self._path or (memory and self._desk.threaded):
            raise Misconfigured(f"expected the path of a file for threads to share, got {self._path!r}")
        self._at_once = self._desk.reads_at_once
        self._durable = not memory or disk is not None
        self._disk: Disk = disk or LocalDisk()
        self._synchronous = synchronous
        self._host = host
        self._log_id = ""
        self._opening = ""
        self._schemas: dict[str, CollectionSchema] = {}
        self._load_sql: dict[str, str] = {}
        self._connections: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._reader: sqlite3.Connection | None = None
        self._writer: Writer | None = None
        self._listeners = Listeners()
        self._timer: asyncio.TimerHandle | None = None
        self._version = 0
        self._started = False

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The store of a URL: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, `?synchronous=full`.

        Raises:
            Misconfigured: The URL is not of that form, or has an unknown option.

        Example:
            >>> SqliteStore.from_url("sqlite:///orders.db?synchronous=full").features
            Features(durable=True, shared=True)
        """
        parsed = parse_url(url)
        return cls(parsed.path, synchronous=parsed.synchronous)

    @property
    def features(self) -> Features:
        """Durable unless in this process's memory; shared where it may watch for the commits of others."""
        return Features(durable=self._durable, shared=self._desk.threaded)

    @property
    def log_id(self) -> str:
        """Minted with the file, and kept in it."""
        return self._log_id

    async def open(self, collections: Sequence[CollectionSchema]) -> None:
        """Open the file, making it where it is missing.

        Raises:
            CouldNotStart: It is not ours, of a newer format, or holds rows that cannot be read as these collections.
        """
        self._desk.start(self._apply, self._committed)
        self._started = True
        id = (self._host or current().host).new_id()
        opening = Opening(id, self._disk.boot() if self._durable else "", self._synchronous)
        try:
            await self._desk.call(lambda: self._open(collections, opening))
        except BaseException:
            await self.close()
            raise

    def _open(self, collections: Sequence[CollectionSchema], opening: Opening) -> None:
        require_version(sqlite3.sqlite_version_info)
        connection = self._connect()
        opened = patiently(lambda: prepare(connection, self._path, collections, opening))
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS_MAX}")
        self._log_id = opened.log_id
        self._opening = opening.id
        self._schemas = {one.name: opened.schemas[one.name] for one in collections}
        self._load_sql = {
            name: f"SELECT rev, CAST(value AS BLOB) FROM {table_name(name)} WHERE id = ?" for name in self._schemas
        }
        self._writer = Writer(connection, self._schemas)
        self._reader = self._connect() if self._desk.threaded else connection
        self._version = self._data_version()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = self._disk.connect(self._path, self._synchronous)
        except sqlite3.Error as error:
            raise cannot_open(self._path, error) from error
        self._connections.append(connection)
        return connection

    async def close(self) -> None:
        """Finish commits in flight and let go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._listeners.rest()
        self._reader = None
        if not self._started:
            return
        self._started = False
        try:
            await self._desk.call(self._leave)
        finally:
            # Also where leaving failed, such as on a full disk: nothing may stay open.
            await self._desk.stop()
            self._writer = None
            self._idle.clear()
            while self._connections:
                self._disk.release(self._connections.pop())

    def _leave(self) -> None:
        if self._writer is not None:
            unnote(self._writer.connection, self._opening)

    def _apply(self, batches: Sequence[Batch]) -> Sequence[tuple[int, ...] | Exception]:
        outcomes = cast("Writer", self._writer).apply(batches)
        # Here, and not where somebody waits for them: who has lost a lease is cancelled meanwhile.
        self.late += sum(map(is_late, batches, outcomes))
        return outcomes

    async def load(self, collection: str, id: str, /) -> Row | None:
        """One row, or None."""
        statement = self._load_sql.get(collection)
        if statement is None:
            raise NotFound("collection", collection)
        values = (id,)
        # To ask a desk that reads at once would cost a tenth of the read, and this is the one behind every `get`.
        found = self._read(statement, values) if self._at_once else await self._look(statement, values)
        return Row(id, *cast("tuple[int, bytes]", found[0])) if found else None

    async def find(self, collection: str, query: Query, /) -> Found:
        """A page of matching rows, read beside the loop unless it is a plain list by id."""
        schema = self._schema(collection)
        check_query(query)
        start = decode_cursor(query.cursor, query, schema) if query.cursor is not None else None
        statement = find_sql(query, schema, start)
        simple = query.where is None and not query.order
        rows = await (self._look(statement.text, statement.values) if simple else self._scan(statement))
        kept = rows[: query.limit]
        page = tuple(Row(*cast("tuple[str, int, bytes]", row[:3])) for row in kept)
        if len(kept) == len(rows):
            return Found(page, None)
        return Found(page, encode_cursor(cast("tuple[Key, ...]", kept[-1][3:]), page[-1].id, query, schema))

    async def count(self, collection: str, query: Query, /) -> int:
        """How many rows match."""
        ((found,),) = await self._scan(count_sql(query.where, self._schema(collection)))
        return cast("int", found)

    async def commit(self, batch: Batch, /) -> tuple[int, ...]:
        """Write it all, or nothing, in one transaction with whatever else is waiting."""
        if self._reader is None:
            raise _closed()
        positions = await self._desk.write(batch)
        self.commits += 1
        return positions

    async def marked(self, scope: str, key: str, /) -> Mark | None:
        """The mark, if it was made."""
        found = await self._look(_MARKED, (scope, key))
        return Mark(scope, key, *cast("tuple[bytes, bytes]", found[0])) if found else None

    async def position(self, name: str, /) -> int:
        """How far the named reader has come."""
        found = await self._look(_POSITION, (name,))
        return cast("int", found[0][0]) if found else 0

    async def head(self) -> int:
        """Position of the newest entry."""
        ((head,),) = await self._look(HEAD)
        return cast("int", head)

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        """Entries after a position; at most `CHANGES_MAX`, over at most `WINDOW_MAX` positions."""
        return await self._desk.read(lambda: self._changes(after, limit, names))

    def _changes(self, after: int, limit: int, names: Sequence[str] | None) -> Changes:
        limit, reach = min(limit, CHANGES_MAX), after + WINDOW_MAX
        chosen = "" if names is None else f" AND name IN ({', '.join('?' * len(names))})"
        # Nulls come first.
        statement = f"{_PIECE}{chosen} ORDER BY seq LIMIT ?"
        values = (min(after, _SEQ_MAX), min(reach, _SEQ_MAX), *(names or ()), limit + 1)
        ends, *lines = self._read(statement, values)
        head, trimmed = cast("tuple[int, int]", ends[1:3])
        if after < trimmed:
            return msgspec.structs.replace(self._changes(trimmed, limit, names), trimmed=True)
        end = max(min(reach, head), after)
        if not lines and end < head:
            # No position may be as far off as a machine that went down makes it: go on right before the next entry.
            ((beyond, trimmed),) = cast("list[tuple[int, int]]", self._read(_BEFORE_NEXT, (end, head)))
            # Should the log have been trimmed just now, that is told to whoever goes on from here.
            end = beyond if trimmed <= end else end
        entries = tuple(_entry(cast("_Line", line)) for line in lines)
        upto = entries[-1].seq if len(entries) == limit else end
        return Changes(entries, upto, more=upto < head)

    def listen(self, wake: Callable[[], None], /, *, names: Sequence[str] | None = None) -> Callable[[], None]:
        """Have `wake` called after commits; those of other processes are noticed within `POLL_SECONDS`."""
        stop = self._listeners.add(wake, names)
        if self._desk.threaded and self._timer is None and self._reader is not None:
            self._version = self._data_version()
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll)
        return stop

    def _poll(self) -> None:
        self._timer = None
        if self._reader is None or not self._listeners:
            return
        self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll)
        if (version := self._data_version()) != self._version:
            self._version = version
            self._committed(None)

    def _committed(self, batches: Sequence[Batch] | None) -> None:
        self._listeners.wake(asyncio.get_running_loop(), batches)

    async def trim(self, before: float, /, *, keep_after: int) -> int:
        """Forget the oldest entries, up to the first that is to be kept, and the marks from before."""
        writer, total = self._writer, 0
        if writer is None:
            raise _closed()
        entries = marks = TRIM_MAX
        while TRIM_MAX in (entries, marks):
            entries, marks = await self._desk.call(lambda: writer.trim(before, keep_after))
            total += entries
        return total

    @asynccontextmanager
    async def dump(self) -> AsyncGenerator[Dump]:
        """All that is stored, read in one transaction; see `hanse.store.dump.Dumpable`."""
        if self._reader is None:
            raise _closed()
        if not self._desk.threaded:
            # Its connection writes as well: all is read now, of what is in memory anyway.
            moment, pieces = moment_of(self._reader), iter([*pieces_of(self._reader, self._schemas)])
            yield Dump(moment, self._told(pieces))
            return
        connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield Dump(moment_of(connection), self._told(pieces_of(connection, self._schemas)))
        finally:
            self._connections.remove(connection)
            self._disk.release(connection)

    async def _told(self, pieces: Iterator[Piece]) -> AsyncGenerator[Piece]:
        while (piece := await self._desk.scan(lambda _: _next(pieces))) is not None:
            yield piece

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], /) -> None:
        """Take in a dump, in one transaction; see `hanse.store.dump.Dumpable`."""
        if self._writer is None or self._reader is None:
            raise _closed()
        restoring, log_id = Restoring(self._writer.connection, self._schemas), (self._host or current().host).new_id()
        try:
            await self._desk.call(restoring.begin)
            async for piece in pieces:
                await self._desk.call(partial(restoring.write, piece))
            await self._desk.call(lambda: restoring.finish(moment, log_id))
        except BaseException:
            await self._desk.call(restoring.give_up)
            raise
        self._log_id = log_id

    def _schema(self, collection: str) -> CollectionSchema:
        schema = self._schemas.get(collection)
        if schema is None:
            raise NotFound("collection", collection)
        return schema

    def _data_version(self) -> int:
        return cast("int", self._read("PRAGMA data_version")[0][0])

    async def _look(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        return await self._desk.read(lambda: self._read(statement, values))

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        if self._reader is None:
            raise _closed()
        return _fetch(self._reader, statement, values)

    async def _scan(self, statement: Statement) -> list[tuple[object, ...]]:
        if self._reader is None:
            raise _closed()
        return await self._desk.scan(lambda stopped: self._fetch_beside(statement, stopped))

    def _fetch_beside(self, statement: Statement, stopped: Stopped) -> list[tuple[object, ...]]:
        if not self._desk.threaded:
            return _fetch(cast("sqlite3.Connection", self._reader), statement.text, statement.values)
        connection = self._idle.pop() if self._idle else self._connect()
        connection.set_progress_handler(stopped, STOP_CHECK_STEPS)
        try:
            return _fetch(connection, statement.text, statement.values)
        finally:
            self._idle.append(connection)


def _closed() -> Unavailable:
    return Unavailable("the store is closed: open it first")


def _next(pieces: Iterator[Piece]) -> Piece | None:
    try:
        return next(pieces, None)
    except sqlite3.Error as error:
        raise_meaning(error)


def _fetch(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> list[tuple[object, ...]]:
    try:
        return connection.execute(statement, values).fetchall()
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise_meaning(error)


_Line = tuple[int, float, str, str, str, str, bytes | None, bytes | None, int, bytes]


def _entry(line: _Line) -> Entry:
    seq, at, op, name, id, message_id, before, after, before_rev, headers = line
    return Entry(seq, at, _OPS[op], name, id, message_id, before, after, before_rev, _headers(headers))
