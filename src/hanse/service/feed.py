"""The feed of a collection: log entries become typed changes, seen through a filter, without a gap.

A snapshot is read page by page while writers go on. What was written meanwhile is in the log between the position
where the reading began and where it ended; comparing revisions tells what the snapshot has already, so that the
reader gets every row's latest state once and then each change once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.service.change import (
    Change,
    Created,
    Deleted,
    Existing,
    Followed,
    Ready,
    Reset,
    Updated,
    change_of,
    seen_through,
)
from hanse.service.log_reader import CursorLost, LogReader
from hanse.service.shape import Shape
from hanse.store.base import Entry, Store
from hanse.store.query import PAGE_MAX, Query, Where

R = TypeVar("R", bound=Resource)


class Feed(Generic[R]):
    """One reader of a collection's log.

    Args of the constructor:
        store: Where the log is.
        shape: How its rows are read.
        where: The filter as a tree, to find the rows that are there.
        matches: The same filter, to look at a row with.
    """

    def __init__(self, store: Store, shape: Shape[R], where: Where | None, matches: Callable[[R], bool]) -> None:
        self._store = store
        self._shape = shape
        self._where = where
        self._matches = matches
        self._log = LogReader(store, [shape.collection])

    def changes(self, after: str | None) -> AsyncIterator[Change[R]]:
        """Changes after a cursor, or from now on; never ends.

        Raises:
            CursorLost: The log does not reach back to the cursor.
        """
        return self._log.told(self._view, after)

    async def follow(self, after: str | None, *, caught_up: bool = False) -> AsyncIterator[Followed[R]]:
        """What is there, `Ready`, and what changes; or only the changes after a cursor that still holds.

        Args:
            after: The cursor; None for none.
            caught_up: Whether `Ready` is told to who resumes, too, once it has what it missed; and again where the log
                went on, but for `QUIET_SECONDS` without a change that is told: its cursor lasts longer.
        """
        while True:
            try:
                missed = caught_up and after is not None
                if after is None or missed:
                    async with closing(self._snapshot() if after is None else self._missed(after)) as items:
                        async for item in items:
                            yield item
                            if isinstance(item, Ready):
                                after = item.cursor
                async with closing(self._news(after, passed=caught_up)) as news:
                    async for one in news:
                        yield one
            except CursorLost:
                after = None
                yield Reset()

    def _news(self, after: str | None, *, passed: bool) -> AsyncIterator[Ready | Change[R]]:
        tell: Callable[[Entry], Ready | Change[R] | None] = self._view
        return self._log.told(tell, after, passed=Ready if passed else None)

    async def _snapshot(self) -> AsyncIterator[Existing[R] | Ready | Change[R]]:
        start = await self._log.head()
        revisions: dict[str, int] = {}
        cursor: str | None = None
        while True:
            found = await self._store.find(self._shape.collection, Query(self._where, limit=PAGE_MAX, cursor=cursor))
            for row in found.rows:
                revisions[row.id] = row.rev
                yield Existing(self._shape.read(row.value, row.id, row.rev))
            cursor = found.next
            if cursor is None:
                break
        end = await self._log.head()
        async with closing(self._log.entries(start, end)) as entries:
            async for entry in entries:
                if (change := self._since(entry, revisions)) is not None:
                    yield change
        yield Ready(self._log.cursor(end))

    def _missed(self, after: str) -> AsyncIterator[Ready | Change[R]]:
        """The changes after a cursor that have been by now, and `Ready`."""
        tell: Callable[[Entry], Ready | Change[R] | None] = self._view
        return self._log.upto_now(tell, after, Ready)

    def _since(self, entry: Entry, revisions: dict[str, int]) -> Change[R] | None:
        """A change that came while the snapshot was read, unless the row was read after it."""
        change = self._view(entry)
        known = revisions.get(entry.id)
        if change is None or (known is not None and entry.seq <= known):
            return None
        if isinstance(change, Deleted):
            return None if revisions.pop(entry.id, None) is None else change
        revisions[entry.id] = entry.seq
        if isinstance(change, Updated) and known is None:
            return Created(change.after, change.cursor, change.at, change.headers)
        return change

    def _view(self, entry: Entry) -> Change[R] | None:
        return seen_through(change_of(entry, self._shape.read, self._log.cursor(entry.seq)), self._matches)
