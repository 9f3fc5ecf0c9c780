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
from hanse.store.base import Changes, Entry, Store

T = TypeVar("T")

PIECE = 256
"""Log entries read at once by one reader."""

QUIET_SECONDS = 60.0
"""Without an entry of its names, after which a reader that wants to know is told where the log is."""


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

    async def told(
        self, tell: Callable[[Entry], T | None], after: str | None, *, passed: Callable[[str], T] | None = None
    ) -> AsyncIterator[T]:
        """What is told of the entries after a cursor, or from now on; never ends. Of None nothing is told.

        Args:
            tell: Makes what is told of an entry.
            after: The cursor.
            passed: Makes what is told where nothing was for `QUIET_SECONDS`, but the log went on: so the reader's
                cursor does not fall behind what is kept.

        Raises:
            CursorLost: The log does not reach back to the cursor.
        """
        seq = await self._store.head() if after is None else await self.position(after)
        async with closing(self._pieces(seq, every=None if passed is None else QUIET_SECONDS)) as pieces:
            async for piece, waited in pieces:
                for entry in piece.entries:
                    if (item := tell(entry)) is not None:
                        fault_point("feed.before_item")
                        yield item
                        fault_point("feed.after_item")
                        seq = entry.seq
                if passed is not None and waited and not piece.entries and piece.upto > seq:
                    seq = piece.upto
                    yield passed(self.cursor(seq))

    async def entries(self, seq: int, upto: int | None = None) -> AsyncIterator[Entry]:
        """Entries after a position, up to another one, or for ever.

        Raises:
            CursorLost: They have been trimmed away.
        """
        async with closing(self._pieces(seq, upto)) as pieces:
            async for piece, _ in pieces:
                for entry in piece.entries:
                    if upto is not None and entry.seq > upto:
                        return
                    yield entry

    async def _pieces(
        self, seq: int, upto: int | None = None, *, every: float | None = None
    ) -> AsyncIterator[tuple[Changes, bool]]:
        """Pieces of the log, and whether one was read because nothing had come for a while."""
        wake = asyncio.Event()
        stop = self._store.listen(wake.set, names=self._names)
        waited = False
        try:
            while upto is None or seq < upto:
                wake.clear()
                piece = await self._store.changes(seq, limit=PIECE, names=self._names)
                fault_point("feed.piece_read")
                if piece.trimmed:
                    raise CursorLost(self.cursor(seq))
                yield piece, waited
                waited = not piece.more and upto is None and not await _woken(wake, every)
                seq = piece.upto
        finally:
            stop()


async def _woken(wake: asyncio.Event, every: float | None) -> bool:
    """Wait for a wake; whether it came in time."""
    try:
        async with asyncio.timeout(every):
            return await wake.wait()
    except TimeoutError:
        return False
