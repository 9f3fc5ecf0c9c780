"""The store in memory: what tests, tours and throw-away services use. It keeps every promise but durability.

Nothing in it suspends, so a commit is applied at once, and a read is as old as its call.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice, takewhile
from typing import TypeVar, final

import msgspec

from hanse.kernel.context import current
from hanse.kernel.faults import NotFound, PreconditionFailed, Unavailable
from hanse.kernel.host import Host
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
    Position,
    Row,
)
from hanse.store.cursor import decode_cursor, encode_cursor
from hanse.store.dump import (
    Dump,
    Entries,
    MarkAt,
    Marks,
    Moment,
    Piece,
    Positions,
    Rows,
    base_after,
    cut,
    not_empty,
)
from hanse.store.evaluate import Test, Value, check_query, page, predicate
from hanse.store.group import is_late
from hanse.store.listeners import Listeners
from hanse.store.plan import plan
from hanse.store.query import OneOf, Query, Where
from hanse.store.schema import require_sound

T = TypeVar("T")


class _Table:
    """The rows of one collection, their ids in order, and their values once a query has looked at them."""

    __slots__ = ("_tested", "ids", "rows", "schema", "values")

    def __init__(self, schema: CollectionSchema) -> None:
        self.schema: CollectionSchema = schema
        self.ids: list[str] = []
        self.rows: dict[str, Row] = {}
        self.values: dict[str, Value] = {}
        self._tested: tuple[Where | None, CollectionSchema, Test] = (None, schema, predicate(None, schema))

    def write(self, id: str, row: Row | None) -> None:
        self.values.pop(id, None)
        if row is not None:
            if id not in self.rows:
                insort(self.ids, id)
            self.rows[id] = row
        elif self.rows.pop(id, None):
            del self.ids[bisect_left(self.ids, id)]

    def decoded(self, after: str | None = None, among: Iterable[str] | None = None) -> Iterator[tuple[Row, Value]]:
        """Rows with their values, by id; those after an id, and among others, where such are given."""
        ids = self.ids if among is None else sorted(id for id in set(among) if id in self.rows)
        for id in islice(ids, 0 if after is None else bisect_right(ids, after), None):
            row, value = self.rows[id], self.values.get(id)
            if value is None:
                value = self.values[id] = {**_decode(row.value), "id": id, "rev": row.rev}
            yield row, value

    def listed(self, query: Query) -> Found:
        """A page in the order of ids: stops as soon as it is full, where other orders look at every row."""
        check_query(query)
        after = decode_cursor(query.cursor, query, self.schema).id if query.cursor is not None else None
        test = self._test(query.where)
        matching = (row for row, value in self.decoded(after, _ids_in(query.where)) if test(value))
        rows = tuple(islice(matching, query.limit + 1))
        kept = rows[: query.limit]
        return Found(kept, encode_cursor((), kept[-1].id, query, self.schema) if len(rows) > len(kept) else None)

    def _test(self, where: Where | None) -> Test:
        """The condition as a function, kept for who asks the same again and again: by identity, as 1 equals True."""
        known, schema, test = self._tested
        if known is not where or schema is not self.schema:
            test = predicate(where, self.schema)
            self._tested = where, self.schema, test
        return test


_decode = msgspec.json.Decoder(dict[str, object]).decode


def _ids_in(where: Where | None) -> list[str] | None:
    """The ids that a condition names, where it does nothing else: then no other row has to be looked at."""
    if not isinstance(where, OneOf) or where.path != ("id",):
        return None
    return [value for value in where.values if isinstance(value, str)]


@final
class MemoryStore:
    """Rows and their log, for as long as this object lives.

    Example:
        >>> async def main() -> Row | None:
        ...     store = MemoryStore()
        ...     await store.open([CollectionSchema("orders", {})])
        ...     await store.commit(Batch(at=0.0, writes=(Put("orders", "1", b'{"sku":"tea"}', "m1"),)))
        ...     return await store.load("orders", "1")
        >>> from hanse.store.base import Put
        >>> asyncio.run(main())
        Row(id='1', rev=1, value=b'{"sku":"tea"}')
    """

    def __init__(self, *, host: Host | None = None) -> None:
        """Start empty.

        Args:
            host: Gives the log its id; by default, the host of the context that opens the store.
        """
        self.commits: int = 0
        """Batches committed; see `CountsCommits`."""
        self.late: int = 0
        """Batches that it refused as late; see `CountsLate`."""
        self._host = host
        self._log_id = ""
        self._open = False
        self._tables: dict[str, _Table] = {}
        self._log: list[Entry] = []
        self._head = 0
        self._trimmed = 0
        self._marks: dict[tuple[str, str], tuple[Mark, float]] = {}
        self._positions: dict[str, int] = {}
        self._listeners = Listeners()

    @property
    def features(self) -> Features:
        """It lives and ends with the process."""
        return Features(durable=False, shared=False)

    @property
    def log_id(self) -> str:
        """A fresh id for each store."""
        return self._log_id

    async def open(self, collections: Sequence[CollectionSchema]) -> None:
        """Get ready.

        Raises:
            CouldNotStart: What an earlier opening stored cannot be read as these collections.
        """
        tables = {name: table.schema for name, table in self._tables.items()}
        merged = require_sound(tables, collections)
        for schema in merged:
            table = self._tables.setdefault(schema.name, _Table(schema))
            table.schema = schema
        self._log_id = self._log_id or (self._host or current().host).new_id()
        self._open = True

    async def close(self) -> None:
        """Let go; opened again, it has what it had."""
        self._open = False
        self._listeners.rest()

    async def load(self, collection: str, id: str, /) -> Row | None:
        """One row, or None."""
        return self._table(collection).rows.get(id)

    async def find(self, collection: str, query: Query, /) -> Found:
        """A page of matching rows."""
        table = self._table(collection)
        return page(table.decoded(), query, table.schema) if query.order else table.listed(query)

    async def count(self, collection: str, query: Query, /) -> int:
        """How many rows match."""
        table = self._table(collection)
        if query.where is None:
            return len(table.rows)
        test = predicate(query.where, table.schema)
        return sum(1 for _, value in table.decoded() if test(value))

    async def commit(self, batch: Batch, /) -> tuple[int, ...]:
        """Write it all, or nothing."""
        self._require_open()
        try:
            planned = plan(batch, self._head, self)
        except PreconditionFailed as refused:
            self.late += is_late(batch, refused)
            raise
        for (collection, id), row in planned.rows.items():
            self._tables[collection].write(id, row)
        self._log.extend(planned.entries)
        self._head += len(planned.entries)
        self._marks.update((address, (mark, batch.at)) for address, mark in planned.marks.items())
        self._positions.update((position.name, position.seq) for position in batch.positions)
        if planned.entries:
            self._listeners.wake(asyncio.get_running_loop(), (batch,))
        self.commits += 1
        return planned.positions

    def row(self, collection: str, id: str, /) -> Row | None:
        """The row at this moment, as `hanse.store.plan` asks for it."""
        return self._table(collection).rows.get(id)

    def at(self, name: str, /) -> int:
        """Where a position is at this moment, as `hanse.store.plan` asks for it."""
        return self._positions.get(name, 0)

    def has_mark(self, scope: str, key: str, /) -> bool:
        """Whether the mark was made, as `hanse.store.plan` asks for it."""
        return (scope, key) in self._marks

    async def marked(self, scope: str, key: str, /) -> Mark | None:
        """The mark, if it was made."""
        self._require_open()
        found = self._marks.get((scope, key))
        return found[0] if found else None

    async def position(self, name: str, /) -> int:
        """How far the named reader has come."""
        self._require_open()
        return self._positions.get(name, 0)

    async def head(self) -> int:
        """Position of the newest entry."""
        self._require_open()
        return self._head

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        """Entries after a position; at most `CHANGES_MAX`, over at most `WINDOW_MAX` positions."""
        self._require_open()
        begin = max(after, self._trimmed)
        start, reach = bisect_right(self._log, begin, key=_seq), begin + WINDOW_MAX
        window = takewhile(lambda one: one.seq <= reach, islice(self._log, start, None))
        wanted = None if names is None else frozenset(names)
        limit = min(limit, CHANGES_MAX)
        entries = tuple(islice((one for one in window if wanted is None or one.name in wanted), limit))
        end = max(min(self._beyond(start, reach), self._head), after)
        upto = entries[-1].seq if len(entries) == limit else end
        return Changes(entries, upto, trimmed=after < self._trimmed, more=upto < self._head)

    def _beyond(self, start: int, reach: int) -> int:
        """What a piece reaches to: as far as asked, or where positions are left out, right before the next entry."""
        if start == len(self._log):
            return self._head
        return max(reach, self._log[start].seq - 1)

    def listen(self, wake: Callable[[], None], /, *, names: Sequence[str] | None = None) -> Callable[[], None]:
        """Have `wake` called after commits, once for all those of one turn of the event loop."""
        return self._listeners.add(wake, names)

    async def trim(self, before: float, /, *, keep_after: int) -> int:
        """Forget the oldest entries, up to the first that is to be kept, and the marks from before."""
        self._require_open()
        gone = 0
        log = self._log
        while gone < len(log) and log[gone].at < before and log[gone].seq <= keep_after:
            gone += 1
        self._trimmed = log[gone - 1].seq if gone else self._trimmed
        del log[:gone]
        self._marks = {address: mark for address, mark in self._marks.items() if mark[1] >= before}
        return gone

    @asynccontextmanager
    async def dump(self) -> AsyncGenerator[Dump]:
        """All that is stored; see `hanse.store.dump.Dumpable`."""
        self._require_open()
        pieces = [*self._pieces()]
        yield Dump(Moment(self._log_id, self._head, self._trimmed), _told(pieces))

    def _pieces(self) -> Iterator[Piece]:
        for name, table in self._tables.items():
            yield from (Rows(name, rows) for rows in cut([table.rows[id] for id in table.ids]))
        yield from map(Entries, cut(self._log))
        yield from map(Marks, cut([MarkAt(mark, at) for _, (mark, at) in sorted(self._marks.items())]))
        yield from map(Positions, cut([Position(*one) for one in sorted(self._positions.items())]))

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], /) -> None:
        """Take in a dump; see `hanse.store.dump.Dumpable`."""
        self._require_open()
        holding = [name for name, table in self._tables.items() if table.rows]
        if holding or self._log or self._marks:
            raise not_empty(holding[0] if holding else "entries of the log or marks")
        # All of it first: what is cut short has not happened.
        found = [piece async for piece in pieces]
        for name in {piece.collection for piece in found if isinstance(piece, Rows)}:
            _ = self._table(name)
        self._positions.clear()
        for piece in found:
            match piece:
                case Rows(collection, rows):
                    for row in rows:
                        self._tables[collection].write(row.id, row)
                case Entries(entries):
                    self._log.extend(entries)
                case Marks(marks):
                    self._marks.update(((one.mark.scope, one.mark.key), (one.mark, one.at)) for one in marks)
                case Positions(positions):
                    self._positions.update((one.name, one.seq) for one in positions)
        self._head, self._trimmed = base_after(moment), moment.trimmed
        self._log_id = (self._host or current().host).new_id()

    def _table(self, collection: str) -> _Table:
        self._require_open()
        if collection not in self._tables:
            raise NotFound("collection", collection)
        return self._tables[collection]

    def _require_open(self) -> None:
        if not self._open:
            raise Unavailable("the store is closed: open it first")


async def _told(pieces: Iterable[Piece]) -> AsyncGenerator[Piece]:
    for piece in pieces:
        yield piece


def _seq(entry: Entry) -> int:
    return entry.seq
