"""Reads some names of a store's log, entry by entry: what all feeds are made of.

A cursor names the log and a position in it. Positions only grow, and a reader that has seen one never finds a new entry
below it, so that going on after a cursor leaves no gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from hanse.kernel.closing import closing
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Fault
from hanse.service.change import cursor_of, position_of
from hanse.store.base import Entry, Store

T = TypeVar("T")

PIECE = 256
"""Log entries read at once by one reader."""


class CursorLost(Fault, status=410, close_code=1008, detail="the log does not reach back to {cursor}; start anew"):
    """The log has been trimmed, or belongs to another store: read what is there now, then follow from that."""

    cursor: str


class LogReader:
    """Entries of the given names.

    Args of the constructor:
        store: Whose log.
        names: Collections and topics that are read; the others are passed over.
    """

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self._store = store
        self._names = names

    def cursor(self, seq: int) -> str:
        """The cursor of a position."""
        return cursor_of(self._store.log_id, seq)

    async def head(self) -> int:
        """Where the log is now."""
        return await self._store.head()

    async def position(self, cursor: str) -> int:
        """Where a cursor stands in the log.

        Raises:
            CursorLost: It is another log's, or past the end of one that a power cut shortened.
            Malformed: It is no cursor.
        """
        seq = position_of(self._store.log_id, cursor)
        if seq is None or seq > await self._store.head():
            raise CursorLost(cursor)
        return seq

    async def told(self, tell: Callable[[Entry], T | None], after: str | None) -> AsyncIterator[T]:
        """What is told of the entries after a cursor, or from now on; never ends. Of None nothing is told.

        Raises:
            CursorLost: The log does not reach back to the cursor.
        """
        seq = await self._store.head() if after is None else await self.position(after)
        async with closing(self.entries(seq)) as entries:
            async for entry in entries:
                if (item := tell(entry)) is not None:
                    fault_point("feed.before_item")
                    yield item
                    fault_point("feed.after_item")

    async def entries(self, seq: int, upto: int | None = None) -> AsyncIterator[Entry]:
        """Entries after a position, up to another one, or for ever.

        Raises:
            CursorLost: They have been trimmed away.
        """
        wake = asyncio.Event()
        stop = self._store.listen(wake.set, names=self._names)
        try:
            while upto is None or seq < upto:
                wake.clear()
                piece = await self._store.changes(seq, limit=PIECE, names=self._names)
                fault_point("feed.piece_read")
                if piece.trimmed:
                    raise CursorLost(self.cursor(seq))
                for entry in piece.entries:
                    if upto is not None and entry.seq > upto:
                        return
                    yield entry
                if not piece.more and upto is None:
                    await wake.wait()
                seq = piece.upto
        finally:
            stop()
