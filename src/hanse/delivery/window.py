"""What a relay has taken from a log and not had acknowledged: the order of each key, and the position that is safe.

A pure machine over positions and keys. Of each key one entry is under way at a time, the others wait behind it;
entries without a key do not wait. Everything at or below `position` is done, so a reader that starts there again
misses nothing.
"""

from __future__ import annotations

from collections import deque
from typing import final


@final
class Window:
    """The entries under way or waiting, in order of position.

    Example:
        >>> window = Window(0, limit=10)
        >>> window.take(1, "a"), window.take(2, "a"), window.take(3, "")
        (True, False, True)
        >>> window.position, window.done(1), window.position
        (0, 2, 1)
    """

    __slots__ = ("_open", "_waiting", "limit", "reached")

    def __init__(self, position: int, *, limit: int) -> None:
        """Start after a position.

        Args:
            position: Everything up to it is done.
            limit: Entries held at once.
        """
        self.reached: int = position
        self.limit: int = limit
        self._open: dict[int, str] = {}
        self._waiting: dict[str, deque[int]] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def room(self) -> int:
        """Entries that may still be taken."""
        return self.limit - len(self._open)

    @property
    def position(self) -> int:
        """Everything up to here is done: just below the lowest entry held."""
        return next(iter(self._open)) - 1 if self._open else self.reached

    def take(self, seq: int, key: str) -> bool:
        """Hold an entry, above all taken before; whether it may be delivered at once."""
        assert seq > self.reached, (seq, self.reached)
        self.reached = seq
        self._open[seq] = key
        if not key:
            return True
        behind = self._waiting.get(key)
        if behind is None:
            self._waiting[key] = deque()
            return True
        behind.append(seq)
        return False

    def skip_to(self, seq: int) -> None:
        """Nothing that anybody wants is left up to a position."""
        self.reached = max(self.reached, seq)

    def done(self, seq: int) -> int | None:
        """Let go of an entry that was acknowledged; the one of its key that may be delivered now, if any."""
        key = self._open.pop(seq)
        if not key:
            return None
        behind = self._waiting[key]
        if behind:
            return behind.popleft()
        del self._waiting[key]
        return None
