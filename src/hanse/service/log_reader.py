"""Reads some names of a store's log, entry by entry: what all feeds are made of.

A cursor names the log and a position in it. Positions only grow, and a reader that has seen one never finds a new entry
below it, so that going on after a cursor leaves no gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self, TypeVar

from hanse.kernel.closing import closing
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Fault
from hanse.service.change import cursor_of, position_of
from hanse.store.base import Changes, Entry, Store

T = TypeVar("T")

PIECE = 256
"""Log entries read at once by one reader."""

QUIET_SECONDS = 15.0
"""After which a reader that wants to know is told where the log is, if that went on without an entry for it."""


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
            passed: Makes what is told each `QUIET_SECONDS` in which the log went on past what was told: so the reader's
                cursor does not fall behind what is kept.

        Raises:
            CursorLost: The log does not reach back to the cursor.
        """
        seq = await self._store.head() if after is None else await self.position(after)
        wake = asyncio.Event()
        with _Pause(wake) as pause:
            async with closing(self._pieces(seq, wake=wake)) as pieces:
                async for piece in pieces:
                    for entry in piece.entries:
                        if (item := tell(entry)) is not None:
                            fault_point("feed.before_item")
                            yield item
                            fault_point("feed.after_item")
                            seq = entry.seq
                    if passed is not None and piece.upto > seq and pause.is_over():
                        seq = piece.upto
                        yield passed(self.cursor(seq))

    async def upto_now(
        self, tell: Callable[[Entry], T | None], after: str, end: Callable[[str], T]
    ) -> AsyncIterator[T]:
        """What is told of the entries after a cursor that have been by now, and then the end of it.

        Args:
            tell: Makes what is told of an entry; None for nothing.
            after: The cursor.
            end: Makes what is told at the end, of the cursor there.

        Raises:
            CursorLost: The log does not reach back to the cursor.
        """
        seq, upto = await self.position(after), await self._store.head()
        async with closing(self.entries(seq, upto)) as entries:
            async for entry in entries:
                if (item := tell(entry)) is not None:
                    yield item
        yield end(self.cursor(upto))

    async def entries(self, seq: int, upto: int | None = None) -> AsyncIterator[Entry]:
        """Entries after a position, up to another one, or for ever.

        Raises:
            CursorLost: They have been trimmed away.
        """
        async with closing(self._pieces(seq, upto)) as pieces:
            async for piece in pieces:
                for entry in piece.entries:
                    if upto is not None and entry.seq > upto:
                        return
                    yield entry

    async def _pieces(
        self, seq: int, upto: int | None = None, *, wake: asyncio.Event | None = None
    ) -> AsyncIterator[Changes]:
        wake = asyncio.Event() if wake is None else wake
        stop = self._store.listen(wake.set, names=self._names)
        try:
            while upto is None or seq < upto:
                wake.clear()
                piece = await self._store.changes(seq, limit=PIECE, names=self._names)
                fault_point("feed.piece_read")
                if piece.trimmed:
                    raise CursorLost(self.cursor(seq))
                yield piece
                if not piece.more and upto is None:
                    _ = await wake.wait()
                seq = piece.upto
        finally:
            stop()


class _Pause:
    """Between two times at which a reader is told where the log is; who sleeps is woken when one is over.

    It begins when somebody asks, so that a log that stands still has no timer.
    """

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def is_over(self) -> bool:
        """Whether one is; then the next one begins with the next question."""
        over, self._over = self._over, False
        if not over and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._end)
        return over

    def _end(self) -> None:
        self._timer, self._over = None, True
        self._wake.set()
