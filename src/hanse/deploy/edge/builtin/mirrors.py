"""How many copies of requests are under way, and what came of those that are over."""

from __future__ import annotations

from collections import deque
from typing import final

from hanse.control.edge_mirror import Pair, Pairs

COPIES_MAX = 64
"""Copies under way at once."""

PAIRS_MAX = 1_000
"""Pairs that wait for somebody who compares them; the oldest are dropped."""


@final
class Mirrors:
    """What is copied, and what came of it."""

    def __init__(self) -> None:
        """Nothing was copied."""
        self.sent: int = 0
        self.left_out: int = 0
        self._open = 0
        self._dropped = 0
        self._pairs: deque[Pair] = deque(maxlen=PAIRS_MAX)

    def admits(self) -> bool:
        """Count one more copy, if there is room for it."""
        if self._open >= COPIES_MAX:
            self.left_out += 1
            return False
        self._open += 1
        return True

    def over(self, pair: Pair | None) -> None:
        """A copy is over; nothing where it came to nothing."""
        self._open -= 1
        if pair is None:
            self.left_out += 1
            return
        self.sent += 1
        self._dropped += len(self._pairs) == PAIRS_MAX
        self._pairs.append(pair)

    def take(self) -> Pairs:
        """What there is to be compared; it is told once."""
        pairs = Pairs(pairs=tuple(self._pairs), dropped=self._dropped)
        self._pairs.clear()
        self._dropped = 0
        return pairs
