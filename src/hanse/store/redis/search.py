"""Searches: rows come in pieces, by an index or in the order of their ids, and are looked at as the reference does.

A page in the order in which they come ends as soon as it is full. Any other order looks at every row that may match,
and keeps as many as the page has, so that memory has a limit however many rows there are. A piece is of one moment, a
search is not:
a row that changes meanwhile is seen as it was or as it is, and none that stays is seen twice or left out.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable
from typing import cast, final

import msgspec

from hanse.store.base import CollectionSchema, Found, Row
from hanse.store.cursor import After, decode_cursor, encode_cursor
from hanse.store.evaluate import SortKey, check_query, keyed, predicate, sort_key, value_of
from hanse.store.keys import Key
from hanse.store.query import And, Compare, OneOf, Query, Where
from hanse.store.redis.group import row_of
from hanse.store.redis.index import BEYOND, ID, Index, Span, Way, after, of_collections, text_of, way
from hanse.store.redis.names import Names
from hanse.store.redis.reader import Reader
from hanse.store.redis.scripts import PIECE_ROWS, SCAN, WALK


@final
class Sieve:
    """Keeps of many rows those of one page."""

    def __init__(self, query: Query, schema: CollectionSchema) -> None:
        """Have seen none yet.

        Args:
            query: What is wanted.
            schema: The collection that rows are of.

        Raises:
            Malformed: The cursor is not this query's, or the limit or a path is impossible.
        """
        check_query(query)
        self._query = query
        self._schema = schema
        self._test = predicate(query.where, schema)
        self._keys_of = [keyed(one.path, schema) for one in query.order]
        self._kept: list[tuple[SortKey, Row, tuple[Key, ...]]] = []
        self._start: SortKey | None = None
        self.after: After | None = None
        if query.cursor is not None:
            self.after = decode_cursor(query.cursor, query, schema)
            self._start = sort_key(self.after.keys, query.order, self.after.id)

    def add(self, rows: Iterable[Row]) -> None:
        """Look at some more."""
        found = [one for row in rows if (one := self._sifted(row)) is not None]
        self._kept = heapq.nsmallest(self._query.limit + 1, [*self._kept, *found])

    @property
    def is_full(self) -> bool:
        """Whether it has a page, and knows that there is another; none that comes later in the order is on it."""
        return len(self._kept) > self._query.limit

    def page(self) -> Found:
        """What it has kept."""
        kept = self._kept[: self._query.limit]
        rows = tuple(row for _, row, _ in kept)
        if len(kept) == len(self._kept):
            return Found(rows, None)
        return Found(rows, encode_cursor(kept[-1][2], rows[-1].id, self._query, self._schema))

    def _sifted(self, row: Row) -> tuple[SortKey, Row, tuple[Key, ...]] | None:
        value = value_of(row)
        if not self._test(value):
            return None
        keys = tuple(key_of(value) for key_of in self._keys_of)
        place = sort_key(keys, self._query.order, row.id)
        return (place, row, keys) if self._start is None or self._start < place else None


def named_ids(where: Where | None) -> list[str] | None:
    """The ids that a row has to have one of, where a condition names them; then no other has to be looked at.

    Example:
        >>> named_ids(And((Compare("eq", ("id",), "7"), Compare("eq", ("sku",), "tea"))))
        ['7']
    """
    match where:
        case Compare("eq", ("id",), value):
            return [value] if isinstance(value, str) else []
        case OneOf(("id",), values):
            return [value for value in values if isinstance(value, str)]
        case And(parts):
            return next((ids for part in parts if (ids := named_ids(part)) is not None), None)
        case _:
            return None


class _Ready(msgspec.Struct, frozen=True):
    """Where rows come from for one search, and whether a page that is full is done."""

    rows: AsyncIterator[list[Row]]
    ordered: bool


class _GoneError(Exception):
    """The index that a search went by is not there any more."""


@final
class Searcher:
    """Finds rows of one store."""

    def __init__(self, reader: Reader, names: Names, indexes: Iterable[Index]) -> None:
        """Know where they are.

        Args:
            reader: Reads them.
            names: Of their keys.
            indexes: That searches may go by.
        """
        self._reader = reader
        self._names = names
        self._indexes = of_collections(indexes)

    async def find(self, query: Query, schema: CollectionSchema) -> Found:
        """A page of matching rows. Raises `Malformed`."""
        try:
            return await self._found(query, schema)
        except _GoneError:
            self._indexes.clear()
            return await self._found(query, schema)

    async def count(self, query: Query, schema: CollectionSchema) -> int:
        """How many rows match. Raises `Malformed`."""
        if query.where is None:
            return cast("int", await self._reader.ask(b"HLEN", self._names.rows(schema.name)))
        try:
            return await self._counted(query, schema)
        except _GoneError:
            self._indexes.clear()
            return await self._counted(query, schema)

    async def _found(self, query: Query, schema: CollectionSchema) -> Found:
        sieve = Sieve(query, schema)
        ready = await self._ready(query, schema, sieve)
        async for rows in ready.rows:
            sieve.add(rows)
            if ready.ordered and sieve.is_full:
                break
        return sieve.page()

    async def _counted(self, query: Query, schema: CollectionSchema) -> int:
        test, count = predicate(query.where, schema), 0
        async for rows in (await self._ready(query, schema, None)).rows:
            count += sum(test(value_of(row)) for row in rows)
        return count

    async def _ready(self, query: Query, schema: CollectionSchema, sieve: Sieve | None) -> _Ready:
        """Where rows come from: by their ids, by an index, or all of them. Without a sieve, they are only counted."""
        start = sieve.after if sieve is not None else None
        last = start.id if start is not None and not query.order else None
        first = min(PIECE_ROWS, query.limit + 1) if sieve is not None else PIECE_ROWS
        ids = named_ids(query.where)
        if ids is not None:
            return _Ready(self._named(schema.name, ids, last), ordered=not query.order)
        chosen = way(query, self._indexes.get(schema.name, ()), counting=sieve is None)
        if chosen is not None and (chosen.is_sure or await self._is_few(chosen)):
            begun = after(text_of(start.keys[0]), start.id) if start is not None and query.order else None
            if last is not None and chosen.ordered:
                begun = after(chosen.spans[0].low[1:-1], last)
            if chosen.ordered:
                return _Ready(self._walked(chosen, begun, first), ordered=True)
            return _Ready(self._walked(chosen, None, PIECE_ROWS), ordered=False)
        return _Ready(self._scanned(schema.name, last, PIECE_ROWS if query.order else first), not query.order)

    async def _is_few(self, chosen: Way) -> bool:
        """Whether so few rows are in some parts of an index that it does not matter that they are in another order."""
        key = self._names.key(chosen.index.name)
        found = [await self._reader.ask(b"ZLEXCOUNT", key, one.low, one.high) for one in chosen.spans]
        return sum(cast("list[int]", found)) <= PIECE_ROWS

    async def _named(self, collection: str, ids: list[str], last: str | None) -> AsyncIterator[list[Row]]:
        wanted = sorted(id for id in set(ids) if last is None or id > last)
        for start in range(0, len(wanted), PIECE_ROWS):
            piece = wanted[start : start + PIECE_ROWS]
            asked = (id.encode(errors="surrogatepass") for id in piece)
            found = await self._reader.ask(b"HMGET", self._names.rows(collection), *asked)
            stored = zip(piece, cast("list[bytes | None]", found), strict=True)
            yield [row_of(id, one) for id, one in stored if one is not None]

    async def _scanned(self, collection: str, last: str | None, piece: int) -> AsyncIterator[list[Row]]:
        keys = [self._names.ids(collection), self._names.rows(collection)]
        begin, more = b"-" if last is None else b"(" + last.encode(errors="surrogatepass"), 1
        while more:
            came = await self._reader.run(SCAN, keys, begin, b"%d" % piece)
            more, found = cast("tuple[int, list[bytes]]", came)
            rows = _rows(found)
            if not rows:
                return
            begin, piece = b"(" + rows[-1].id.encode(), min(PIECE_ROWS, 2 * piece)
            yield rows

    async def _walked(self, chosen: Way, begun: Span | None, piece: int) -> AsyncIterator[list[Row]]:
        index, names = chosen.index, self._names
        keys = [names.indexes, names.key(index.name), names.rows(index.collection)]
        for span in chosen.spans:
            low: bytes = span.low
            high: bytes = span.high
            more, group = 1, begun
            if begun is not None:
                # What comes after the key that the page before ended with.
                low, high = (low, b"(" + begun.high[1:-1] + ID) if chosen.falls else (begun.low, high)
            while more:
                left = (group.low, group.high) if group and chosen.falls else (b"", b"")
                given: list[bytes] = [index.name.encode(), low, high, *left, b"%d" % piece, b"%d" % chosen.falls]
                came = await self._reader.run(WALK, keys, *given)
                if came is None:
                    raise _GoneError
                more, reached, found = cast("tuple[int, bytes, list[bytes]]", came)
                if found:
                    yield _rows(found)
                if not more:
                    break
                text = reached[: reached.index(ID)]
                group = Span(b"(" + reached, b"(" + text + BEYOND)
                low, high = (low, b"(" + text + ID) if chosen.falls else (b"(" + reached, high)
                piece = min(PIECE_ROWS, 2 * piece)


def _rows(found: list[bytes]) -> list[Row]:
    return [row_of(id.decode(), value) for id, value in zip(found[::2], found[1::2], strict=True)]
