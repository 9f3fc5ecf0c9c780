"""A collection whose rows are in the service's own store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Generic, TypeVar, cast

import msgspec

from hanse.contract.model import Resource
from hanse.kernel.codec import stored_json
from hanse.kernel.context import current
from hanse.kernel.faults import Conflict, NotFound, PreconditionFailed
from hanse.service.change import Change, Followed, cursor_of
from hanse.service.collection import Page
from hanse.service.feed import Feed
from hanse.service.query import filter_of, sorting_of
from hanse.service.shape import Shape, schema_of, shape_of
from hanse.service.unit import Staged, Unit, unit_for
from hanse.store.base import AlreadyHandled, CollectionSchema, Found, Row, Store
from hanse.store.evaluate import Value, page, predicate
from hanse.store.query import PAGE_MAX, Query, Where

R = TypeVar("R", bound=Resource)
T = TypeVar("T")

_decode = msgspec.json.Decoder(dict[str, object]).decode

CONFLICT_TRIES_MAX = 10
"""How often a lone write that lost a race is tried again, on what the winner left."""


class LocalCollection(Generic[R]):
    """`Collection` over a store. Reads see what the same handler has written."""

    def __init__(
        self, kind: type[R], store: Store, *, shape: Shape[R] | None = None, schema: CollectionSchema | None = None
    ) -> None:
        """Over rows that are kept in the usual way, or in another.

        Args:
            kind: The resource.
            store: Where its rows are.
            shape: How they are read and written, where that is special; then the `schema` as well.
            schema: As the store knows it.
        """
        self.shape: Shape[R] = shape or shape_of(kind)
        self.schema: CollectionSchema = schema or schema_of(kind)
        self._store = store

    async def get(self, id: str, /) -> R:
        """See `Collection.get`."""
        unit = unit_for(self._store)
        row = await self._peek(unit, id)
        if unit is not None and unit.staged(self.shape.collection, id) is None:
            unit.saw(self.shape.collection, id, 0 if row is None else row.rev)
        return self.there(id, row)

    async def peek(self, id: str) -> R | None:
        """One row, or None; what is written later does not rest on it."""
        return await self._peek(unit_for(self._store), id)

    async def _peek(self, unit: Unit | None, id: str) -> R | None:
        staged = None if unit is None else unit.staged(self.shape.collection, id)
        if staged is not None:
            return cast("R | None", staged.value)
        row = await self._store.load(self.shape.collection, id)
        if row is None:
            return None
        if unit is not None and (more := self.shape.unknown_in(row.value)):
            unit.brought(self.shape.collection, id, more)
        return self.shape.read(row.value, row.id, row.rev)

    async def stored(self, id: str) -> R | None:
        """One row as the store has it, whatever the handler has written, or None."""
        row = await self._store.load(self.shape.collection, id)
        return None if row is None else self.shape.read(row.value, row.id, row.rev)

    async def find(
        self,
        where: Callable[[R], bool] | Where | None = None,
        /,
        *,
        sort: Callable[[R], object] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[R]:
        """See `Collection.find`."""
        return await self.page(
            Query(filter_of(self.shape.kind, where), sorting_of(self.shape.kind, sort), min(limit, PAGE_MAX), cursor)
        )

    async def page(self, query: Query) -> Page[R]:
        """A page of rows, asked for by a tree."""
        unit = unit_for(self._store)
        touched = {} if unit is None else unit.rows(self.shape.collection)
        found = await (self._overlaid(query, touched) if touched else self._store.find(self.shape.collection, query))
        if unit is not None:
            for row in found.rows:
                if row.id not in touched:
                    unit.saw(self.shape.collection, row.id, row.rev)
        return Page([self.shape.read(row.value, row.id, row.rev) for row in found.rows], found.next)

    async def _overlaid(self, query: Query, touched: Mapping[str, Staged]) -> Found:
        """A page as the handler will leave it: what the store finds but for the rows it touched, and these as they are.

        Untouched rows are read on until one more than the page holds is there, so that the cursor is that of the page.
        """
        rows = [
            Row(staged.value.id, staged.value.rev, stored_json(staged.value))
            for staged in touched.values()
            if staged.value is not None
        ]
        wanted = len(rows) + query.limit + 1
        wider = msgspec.structs.replace(query, limit=max(1, min(wanted, PAGE_MAX)))
        while True:
            found = await self._store.find(self.shape.collection, wider)
            rows += (row for row in found.rows if row.id not in touched)
            if found.next is None or len(rows) >= wanted:
                return page(((row, self._value(row)) for row in rows), query, self.schema)
            wider = msgspec.structs.replace(wider, cursor=found.next)

    def _touched(self) -> dict[str, Staged]:
        unit = unit_for(self._store)
        return {} if unit is None else unit.rows(self.shape.collection)

    def _value(self, row: Row) -> Value:
        return {**_decode(row.value), "id": row.id, "rev": row.rev}

    async def scan(
        self, where: Callable[[R], bool] | Where | None = None, /, *, sort: Callable[[R], object] | None = None
    ) -> AsyncIterator[R]:
        """See `Collection.scan`."""
        cursor: str | None = None
        while True:
            page = await self.page(
                Query(filter_of(self.shape.kind, where), sorting_of(self.shape.kind, sort), PAGE_MAX, cursor)
            )
            for row in page.items:
                yield row
            cursor = page.next
            if cursor is None:
                return

    async def count(self, where: Callable[[R], bool] | Where | None = None, /) -> int:
        """See `Collection.count`."""
        query = Query(filter_of(self.shape.kind, where))
        matches = self.matcher(query.where)
        count = await self._store.count(self.shape.collection, query)
        for id, staged in self._touched().items():
            row = await self.stored(id)
            count += staged.value is not None and matches(cast("R", staged.value))
            count -= row is not None and matches(row)
        return count

    async def create(self, value: R, /) -> R:
        """See `Collection.create`."""
        return await self.add(self.shape.accept(value))

    async def add(self, row: R) -> R:
        """As `create`, of a row that is valid and nobody else's: it is not copied, and gets its id and revision."""
        chosen = bool(row.id)
        if not chosen:
            msgspec.structs.force_setattr(row, "id", current().host.new_id())
        msgspec.structs.force_setattr(row, "rev", 0)

        async def write(unit: Unit) -> R:
            # An id of our own making is nobody else's; outside a handler the commit, which follows at once, tells.
            if chosen and unit is unit_for(self._store) and await self.peek(row.id) is not None:
                raise Conflict(f"there is a {self.shape.topic} {row.id!r} already; patch it, or choose another id")
            unit.put(self.shape.collection, row, 0, insisted=True)
            return row

        return await self._write(write)

    async def put(self, value: R, /, *, if_match: int | None = None) -> R:
        """See `Collection.put`."""
        if not value.id:
            return await self.create(value)
        row = self.shape.accept(value)
        expected = if_match if if_match is not None else (value.rev or None)

        async def write(unit: Unit) -> R:
            if expected is not None and unit is unit_for(self._store):
                self._check_revision(row.id, await self._peek(unit, row.id), expected)
            if expected is not None:
                unit.put(self.shape.collection, row, expected, insisted=True)
            else:
                seen = unit.seen(self.shape.collection, row.id)
                unit.put(self.shape.collection, row, seen, insisted=seen is None)
            return row

        return await self._write(write)

    async def patch(self, id: str, /, *, if_match: int | None = None, **changes: object) -> R:
        """See `Collection.patch`."""
        changed = await self.change(id, lambda row: self.shape.patched(self.there(id, row), changes), if_match=if_match)
        return self.there(id, changed)

    async def delete(self, id: str, /, *, if_match: int | None = None) -> None:
        """See `Collection.delete`."""

        def nothing(row: R | None) -> None:
            self.there(id, row)

        await self.change(id, nothing, if_match=if_match)

    async def change(self, id: str, how: Callable[[R | None], R | None], *, if_match: int | None = None) -> R | None:
        """Write what a pure function makes of a row, None standing for "there is none" on both sides.

        Alone, a lost race is run again on what the winner left, so the function may be asked several times.
        """

        async def write(unit: Unit) -> R | None:
            row = await self._peek(unit, id)
            rev = 0 if row is None else row.rev
            if if_match is not None:
                self._check_revision(id, row, if_match)
            if unit.seen(self.shape.collection, id) not in (None, rev) and not unit.staged(self.shape.collection, id):
                raise Conflict(f"somebody else changed {self.shape.topic} {id!r} after this had read it")
            changed = how(row)
            if changed is not None:
                unit.put(self.shape.collection, changed, rev)
            elif row is not None:
                unit.delete(self.shape.collection, id, rev, stored=await self.stored(id) is not None)
            return changed

        return await self._write(write)

    def _check_revision(self, id: str, row: R | None, expected: int) -> None:
        rev = 0 if row is None else row.rev
        if rev != expected:
            raise PreconditionFailed(self.shape.topic, id, str(expected), str(rev or "none"))

    def there(self, id: str, row: R | None) -> R:
        """The row, which has to be there.

        Raises:
            NotFound: It is not.
        """
        if row is None:
            raise NotFound(self.shape.topic, id)
        return row

    async def cursor(self) -> str:
        """See `Collection.cursor`."""
        return cursor_of(self._store.log_id, await self._store.head())

    def changes(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Change[R]]:
        """See `Collection.changes`."""
        return self.feed(filter_of(self.shape.kind, where)).changes(after)

    def follow(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Followed[R]]:
        """See `Collection.follow`."""
        return self.feed(filter_of(self.shape.kind, where)).follow(after)

    def matcher(self, where: Where | None) -> Callable[[R], bool]:
        """A test of rows against a tree."""
        if where is None:
            return lambda row: True  # noqa: ARG005 - a test takes a row
        test = predicate(where, self.schema)
        return lambda row: test(self.shape.plain(row))

    def feed(self, where: Where | None) -> Feed[R]:
        """A reader of the log, for what neither `changes` nor `follow` is enough."""
        return Feed(self._store, self.shape, where, self.matcher(where))

    async def _write(self, stage: Callable[[Unit], Awaitable[T]]) -> T:
        unit = unit_for(self._store)
        if unit is not None:
            return await stage(unit)
        return await committed(Unit(self._store, current()), stage)


async def committed(unit: Unit, stage: Callable[[Unit], Awaitable[T]], tell: Callable[[T], object] | None = None) -> T:
    """Stage and commit; a race that was lost unknowingly is run again, on what the winner left.

    Args:
        unit: What is committed.
        stage: Writes into the unit.
        tell: The answer to the caller that what was staged comes to; see `Unit.commit`.

    Raises:
        Conflict: The caller insisted on what is not so any more, or every one of `CONFLICT_TRIES_MAX` races was lost.
    """
    tries = 0
    while True:
        tries += 1
        result = await stage(unit)
        try:
            await (unit.commit() if tell is None else unit.commit(partial(tell, result)))
        except AlreadyHandled:
            raise
        except Conflict:
            if tries == CONFLICT_TRIES_MAX or unit.insists:
                raise
            unit.clear()
        else:
            return result
