"""Places: how far somebody has come in the logs that a feed reads. Pure."""

from __future__ import annotations

from operator import ge

import msgspec

from hanse.service.change import cursor_of, parts_of
from hanse.service.events import joined, parts_of_cursor


class Place(msgspec.Struct, frozen=True):
    """A position in each of the logs that a feed reads: one for rows, for a topic those of all who may tell of it.

    Attributes:
        logs: Their names, as the feed orders them.
        seqs: The position in each.
    """

    logs: tuple[str, ...]
    seqs: tuple[int, ...]

    @property
    def cursor(self) -> str:
        """What a reader is given that has come so far."""
        return joined(list(map(cursor_of, self.logs, self.seqs)))

    def covers(self, other: Place) -> bool:
        """Whether it is as far in each log, or further."""
        return self.logs == other.logs and all(map(ge, self.seqs, other.seqs))

    def and_(self, other: Place) -> Place:
        """How far somebody has come who has come to both, in the same logs.

        Example:
            >>> place_of("a.1,b.7").and_(place_of("a.3,b.2")).cursor
            'a.3,b.7'
        """
        return Place(self.logs, tuple(map(max, self.seqs, other.seqs)))

    def moved(self, earlier: Place) -> int:
        """The log in which it is further than an earlier place; the first, if in none."""
        return next((log for log, seq in enumerate(self.seqs) if seq != earlier.seqs[log]), 0)


def place_of(cursor: str) -> Place:
    """The place that a cursor stands for.

    Raises:
        Malformed: It is no cursor.

    Example:
        >>> place_of("a.1,b.7")
        Place(logs=('a', 'b'), seqs=(1, 7))
    """
    parts = [parts_of(part) for part in parts_of_cursor(cursor)]
    return Place(tuple(log for log, _ in parts), tuple(seq for _, seq in parts))
