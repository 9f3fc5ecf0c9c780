"""Which rows a rule has to look at, and when: the decisions behind `hanse.service.rules`.

A pure machine over ids, revisions and times. A row is looked at because a sweep found it, or because it changed; it is
worked on once at a time. A change that came while it was worked on has it looked at again, unless it is the change
that this very work made. Work that failed rests before it is tried again.

States of an id: waiting -> running -> settled | waiting (changed meanwhile) | resting -> waiting.
"""

from __future__ import annotations

import heapq
from typing import final

REST_SECONDS = 1.0
"""Longest rest after the first failure; each further one may double it."""

REST_SECONDS_MAX = 300.0
"""Longest rest; the next sweep does not cut it short."""

SETTLED_MAX = 10_000
"""Rows whose last revision is remembered, so that no rule runs again for what it did itself."""


def rest_after(failures: int, draw: float) -> float:
    """Seconds to leave a row alone after so many failures in a row; half of it by chance.

    Example:
        >>> rest_after(1, 1.0), rest_after(3, 1.0), rest_after(3, 0.0), rest_after(99, 1.0)
        (1.0, 4.0, 2.0, 300.0)
    """
    # 2 ** 1024 is more than a float holds, and the limit is reached long before.
    return min(REST_SECONDS_MAX, REST_SECONDS * 2.0 ** min(failures - 1, 64)) * (0.5 + draw / 2)


@final
class Agenda:
    """The rows that one rule has to look at.

    Example:
        >>> agenda = Agenda(concurrency=1, limit=10)
        >>> agenda.offer("42", 7)
        >>> agenda.take(0.0), agenda.take(0.0)
        ('42', None)
        >>> agenda.done("42", 8)
        >>> agenda.offer("42", 8)
        >>> agenda.take(0.0) is None
        True
    """

    __slots__ = ("_concurrency", "_failures", "_limit", "_resting", "_running", "_settled", "_waiting", "_wakes")

    def __init__(self, *, concurrency: int, limit: int) -> None:
        """Start with nothing to do.

        Args:
            concurrency: Rows worked on at once.
            limit: Rows that wait or rest at once; past it nothing new is to be offered.
        """
        self._concurrency = concurrency
        self._limit = limit
        self._waiting: dict[str, None] = {}
        self._running: dict[str, int] = {}
        self._resting: set[str] = set()
        self._wakes: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._settled: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether whoever has rows to offer has to wait."""
        return len(self._waiting) + len(self._resting) >= self._limit

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or rests."""
        return not (self._waiting or self._running or self._resting)

    def offer(self, id: str, rev: int = 0) -> None:
        """A row is to be looked at: for a change that left it at a revision, or (0) because a sweep found it."""
        if rev and rev <= self._settled.get(id, 0):
            return
        if id in self._running:
            self._running[id] = max(self._running[id], rev)
        elif id not in self._resting:
            self._waiting[id] = None

    def take(self, now: float) -> str | None:
        """The next row to work on; None where there is none, or enough are worked on."""
        while self._wakes and self._wakes[0][0] <= now:
            _, id = heapq.heappop(self._wakes)
            self._resting.discard(id)
            self._waiting[id] = None
        if not self._waiting or len(self._running) >= self._concurrency:
            return None
        id = next(iter(self._waiting))
        del self._waiting[id]
        self._running[id] = 0
        return id

    def due(self) -> float | None:
        """When the next row has rested enough; None where none rests."""
        return self._wakes[0][0] if self._wakes else None

    def done(self, id: str, rev: int) -> None:
        """The work on a row is done, and left it at a revision; 0 where it is gone, or does not match."""
        changed = self._running.pop(id)
        self._failures.pop(id, None)
        self._settled.pop(id, None)
        if rev:
            if len(self._settled) >= SETTLED_MAX:
                del self._settled[next(iter(self._settled))]
            self._settled[id] = rev
        if changed > rev:
            self._waiting[id] = None

    def failures(self, id: str) -> int:
        """How often in a row the work on a row has failed, as far as it is remembered."""
        return self._failures.get(id, 0)

    def failed(self, id: str, now: float, draw: float) -> float:
        """The work on a row failed: it rests, for as many seconds as this returns."""
        failures = self._failures.get(id, 0) + 1
        rest = rest_after(failures, draw)
        if self.rest(id, now + rest):
            self._failures[id] = failures
        return rest

    def rest(self, id: str, until: float) -> bool:
        """The row cannot be worked on before a time; whether there is room to remember it (else, the next sweep)."""
        del self._running[id]
        if self.full:
            self._failures.pop(id, None)
            return False
        self._resting.add(id)
        heapq.heappush(self._wakes, (until, id))
        return True
