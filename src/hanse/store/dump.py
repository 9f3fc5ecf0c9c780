"""What a store may do beside what every store can: tell all that it keeps, and take it in again.

A dump is of one moment, though others go on writing: rows, the log, the marks and the positions fit together, so that
what was handled stays handled, and what was not yet delivered is delivered. Revisions and positions stay what they
were. The log that takes them in is another one, with an id of its own, whose positions go on far beyond: whatever the
first store gave out since, no revision will ever stand for two values, and who follows is told to start anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from hanse.kernel.faults import Fault
from hanse.store.base import Entry, Mark, Position, Row

T = TypeVar("T")

PIECE_MAX = 500
"""Rows, entries, marks or positions in one piece at most: what is held in memory at once."""

SKIPPED = 2**24
"""Positions that a restored store leaves out: far more than the first one has given since its dump."""

LOADING = "store/loading"
"""Names the position that is 1 while a store is loaded, and 0 or missing otherwise."""


class StoreNotEmpty(Fault, status=409, detail="{problem}"):
    """A dump is loaded only where nothing is stored; nothing was changed."""

    problem: str


class Moment(msgspec.Struct, frozen=True):
    """Where a store was when it was dumped.

    Attributes:
        log_id: Of its log.
        head: Position of its newest entry.
        trimmed: Up to where the log had been trimmed away.
    """

    log_id: str
    head: int
    trimmed: int


class Rows(msgspec.Struct, frozen=True):
    """Rows of one collection, in the order of their ids."""

    collection: str
    rows: Sequence[Row]


class Entries(msgspec.Struct, frozen=True):
    """Entries of the log, in the order of their positions."""

    entries: Sequence[Entry]


class MarkAt(msgspec.Struct, frozen=True):
    """A mark, and the wall-clock second at which it was made."""

    mark: Mark
    at: float


class Marks(msgspec.Struct, frozen=True):
    """Marks, each once: in the order of their scopes and keys, or in that in which they were made."""

    marks: Sequence[MarkAt]


class Positions(msgspec.Struct, frozen=True):
    """Named positions, in the order of their names."""

    positions: Sequence[Position]


Piece = Rows | Entries | Marks | Positions
"""Part of a dump: at most `PIECE_MAX` things of one kind."""


class Dump(msgspec.Struct, frozen=True):
    """All that a store keeps at one moment.

    Attributes:
        moment: Which.
        pieces: Its collections, one after the other, and then the log, the marks and the positions; read once, while
            the store is open.
    """

    moment: Moment
    pieces: AsyncIterator[Piece]


@runtime_checkable
class Dumpable(Protocol):
    """A store that can be dumped and restored."""

    def dump(self) -> AbstractAsyncContextManager[Dump]:
        """All that is stored of the open collections, as of one moment; others go on reading and writing.

        Raises:
            Unavailable: The store cannot be reached, or is closed.
        """
        ...

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], /) -> None:
        """Take in a dump. Nothing else may be asked of this store meanwhile.

        All of it is there when this returns, and nobody has seen a part. A store that cannot write so much at once
        removes first what an earlier try has left. Afterwards `LOADING` is 0, and the log has a new id.

        Args:
            moment: Of the dump.
            pieces: Of the dump. Whatever it raises is raised here, and nothing is kept.

        Raises:
            StoreNotEmpty: There are rows, entries or marks already.
            NotFound: The dump has rows of a collection that is not open.
            Malformed: It holds what this store cannot take.
            Unavailable: The store cannot be reached, or is closed.
        """
        ...


def base_after(moment: Moment) -> int:
    """The position after which a restored store goes on.

    Example:
        >>> base_after(Moment("log", head=7, trimmed=0)) - 7 == SKIPPED
        True
    """
    return moment.head + SKIPPED


def cut(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """Things in pieces of at most `PIECE_MAX`.

    Example:
        >>> [len(piece) for piece in cut(range(501))]
        [500, 1]
    """
    return (things[start : start + PIECE_MAX] for start in range(0, len(things), PIECE_MAX))


def not_empty(what: str) -> StoreNotEmpty:
    """What to raise where something is stored already.

    Args:
        what: Is stored.
    """
    return StoreNotEmpty(
        f"expected a store with nothing in it, found {what}; load into another one, or remove this one"
    )
