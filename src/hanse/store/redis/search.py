"""Searches: rows come in pieces, in the order of their ids, and are looked at here, as the reference has it.

A page in the order of ids ends as soon as it is full. Any other order looks at every row that matches, and keeps as
many as the page has, so that memory has a limit however many rows there are. A piece is of one moment, a search is not:
a row that changes meanwhile is seen as it was or as it is, and none that stays is seen twice or left out.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterable
from typing import cast, final

import msgspec

from hanse.store.base import CollectionSchema, Found, Row
from hanse.store.cursor import decode_cursor, encode_cursor
from hanse.store.evaluate import SortKey, Value, check_query, keyed, predicate, sort_key
from hanse.store.keys import Key
from hanse.store.query import And, Compare, OneOf, Query, Where
from hanse.store.redis.group import row_of
from hanse.store.redis.names import Names
from hanse.store.redis.reader import Reader
from hanse.store.redis.scripts import SCAN

PIECE_ROWS = 500
"""Rows in one piece at most."""

_decode = msgspec.json.Decoder(dict[str, object]).decode


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
        self.after: str | None = None
        if query.cursor is not None:
            after = decode_cursor(query.cursor, query, schema)
            self._start = sort_key(after.keys, query.order, after.id)
            self.after = None if query.order else after.id

    def add(self, rows: Iterable[Row]) -> None:
        """Look at some more."""
        found = [one for row in rows if (one := self._sifted(row)) is not None]
        self._kept = heapq.nsmallest(self._query.limit + 1, [*self._kept, *found])

    @property
    def is_full(self) -> bool:
        """Whether no row with a higher id can be on the page any more."""
        return not self._query.order and len(self._kept) > self._query.limit

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


def value_of(row: Row) -> Value:
    """What conditions look at."""
    return {**_decode(row.value), "id": row.id, "rev": row.rev}


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


@final
class Searcher:
    """Finds rows of one store."""

    def __init__(self, reader: Reader, names: Names) -> None:
        """Know where they are.

        Args:
            reader: Reads them.
            names: Of their keys.
        """
        self._reader = reader
        self._names = names

    async def find(self, query: Query, schema: CollectionSchema) -> Found:
        """A page of matching rows. Raises `Malformed`."""
        sieve = Sieve(query, schema)
        async for rows in self._candidates(schema.name, query.where, sieve.after):
            sieve.add(rows)
            if sieve.is_full:
                break
        return sieve.page()

    async def count(self, query: Query, schema: CollectionSchema) -> int:
        """How many rows match. Raises `Malformed`."""
        if query.where is None:
            return cast("int", await self._reader.ask(b"HLEN", self._names.rows(schema.name)))
        test, count = predicate(query.where, schema), 0
        async for rows in self._candidates(schema.name, query.where, None):
            count += sum(test(value_of(row)) for row in rows)
        return count

    async def _candidates(self, collection: str, where: Where | None, after: str | None) -> AsyncIterator[list[Row]]:
        """All rows that may match, after an id where one is given, in pieces and in the order of ids."""
        ids = named_ids(where)
        if ids is None:
            async for rows in self._scanned(collection, after):
                yield rows
            return
        wanted = sorted(id for id in set(ids) if after is None or id > after)
        for start in range(0, len(wanted), PIECE_ROWS):
            yield await self._named(collection, wanted[start : start + PIECE_ROWS])

    async def _named(self, collection: str, ids: list[str]) -> list[Row]:
        known = [(id, id.encode(errors="surrogatepass")) for id in ids]
        found = await self._reader.ask(b"HMGET", self._names.rows(collection), *(written for _, written in known))
        stored = zip(ids, cast("list[bytes | None]", found), strict=True)
        return [row_of(id, one) for id, one in stored if one is not None]

    async def _scanned(self, collection: str, after: str | None) -> AsyncIterator[list[Row]]:
        keys = [self._names.ids(collection), self._names.rows(collection)]
        begin, more = b"-" if after is None else b"(" + after.encode(errors="surrogatepass"), 1
        while more:
            came = await self._reader.run(SCAN, keys, begin, b"%d" % PIECE_ROWS)
            more, found = cast("tuple[int, list[bytes]]", came)
            rows = [row_of(id.decode(), value) for id, value in zip(found[::2], found[1::2], strict=True)]
            if not rows:
                return
            begin = b"(" + rows[-1].id.encode()
            yield rows
