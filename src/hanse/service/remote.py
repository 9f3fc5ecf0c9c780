"""A collection whose rows another service owns: the same to its users, by calls to the owner.

Writes commit at the owner, each by itself: a unit of work spans one service. What has to happen together with a write
elsewhere is a saga, or a reaction to its event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.kernel.codec import encode_json, stored_json
from hanse.service.change import Change, Created, Deleted, Followed, Reset, Updated
from hanse.service.collection import Page
from hanse.service.log_reader import CursorLost
from hanse.service.query import filter_of, sorting_of
from hanse.service.rows import Rows, told_by
from hanse.service.shape import Shape, shape_of
from hanse.store.base import Row
from hanse.store.query import PAGE_MAX, Query, Where

R = TypeVar("R", bound=Resource)


class RemoteCollection(Generic[R]):
    """`Collection` over a client of the owner's `Rows`."""

    def __init__(self, kind: type[R], rows: Rows) -> None:
        self._shape: Shape[R] = shape_of(kind)
        self._rows = rows

    async def get(self, id: str, /) -> R:
        """See `Collection.get`."""
        return self._read(await self._rows.get(id))

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
        found = await self._rows.find(
            Query(filter_of(self._shape.kind, where), sorting_of(self._shape.kind, sort), min(limit, PAGE_MAX), cursor)
        )
        return Page([self._read(row) for row in found.rows], found.next)

    async def scan(
        self, where: Callable[[R], bool] | Where | None = None, /, *, sort: Callable[[R], object] | None = None
    ) -> AsyncIterator[R]:
        """See `Collection.scan`."""
        cursor: str | None = None
        while True:
            page = await self.find(where, sort=sort, limit=PAGE_MAX, cursor=cursor)
            for row in page.items:
                yield row
            cursor = page.next
            if cursor is None:
                return

    async def count(self, where: Callable[[R], bool] | Where | None = None, /) -> int:
        """See `Collection.count`."""
        return await self._rows.count(filter_of(self._shape.kind, where))

    async def create(self, value: R, /) -> R:
        """See `Collection.create`."""
        written = await self._rows.create(stored_json(value), value.id)
        return self._shape.read(written.value, written.id, written.rev)

    async def put(self, value: R, /, *, if_match: int | None = None) -> R:
        """See `Collection.put`."""
        if not value.id:
            return await self.create(value)
        expected = if_match if if_match is not None else (value.rev or None)
        written = await self._rows.put(value.id, stored_json(value), expected)
        return self._shape.read(written.value, written.id, written.rev)

    async def patch(self, id: str, /, *, if_match: int | None = None, **changes: object) -> R:
        """See `Collection.patch`."""
        body = encode_json(self._shape.written(changes))
        written = await self._rows.patch(id, body, if_match, form="fields")
        return self._shape.read(written.value, written.id, written.rev)

    async def delete(self, id: str, /, *, if_match: int | None = None) -> None:
        """See `Collection.delete`."""
        await self._rows.delete(id, if_match)

    async def cursor(self) -> str:
        """See `Collection.cursor`."""
        return await self._rows.cursor()

    def changes(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Change[R]]:
        """See `Collection.changes`."""
        return self._changes(filter_of(self._shape.kind, where), after)

    def follow(
        self, where: Callable[[R], bool] | Where | None = None, /, *, after: str | None = None
    ) -> AsyncIterator[Followed[R]]:
        """See `Collection.follow`."""
        return self._follow(filter_of(self._shape.kind, where), after)

    async def _changes(self, where: Where | None, after: str | None) -> AsyncIterator[Change[R]]:
        async with closing(self._rows.follow(where, after or "", snapshot=False)) as lines:
            async for line in lines:
                told = told_by(line, self._shape)
                if isinstance(told, Reset):
                    raise CursorLost(after or "")
                if isinstance(told, (Created, Updated, Deleted)):
                    yield told

    async def _follow(self, where: Where | None, after: str | None) -> AsyncIterator[Followed[R]]:
        async with closing(self._rows.follow(where, after or "")) as lines:
            async for line in lines:
                yield told_by(line, self._shape)

    def _read(self, row: Row) -> R:
        return self._shape.read(row.value, row.id, row.rev)
