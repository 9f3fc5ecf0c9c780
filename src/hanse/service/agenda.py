"""Which rows a rule has to look at, and when: the decisions behind `hanse.service.rules`.

A pure machine over ids, revisions and times. A row is looked at because a sweep found it, or because it changed; it is
worked on once at a time. A change that came while it was worked on has it looked at again, unless it is the change
that this very work made. Work that failed rests before it is tried again, and so does work whose time has not come.

Rows may be in lanes: those of one lane have so many places and no more, and lanes take turns, so that one whose work is
slow, or never ends, keeps no other waiting. A lane remembers a few of its rows; of what it could not remember it only
knows that there is more, and says so when it has room again.

States of an id: waiting -> running -> settled | waiting (changed meanwhile) | resting -> waiting.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import final

REST_SECONDS = 1.0
"""Longest rest after the first failure; each further one may double it."""

REST_SECONDS_MAX = 300.0
"""Longest rest; the next sweep does not cut it short."""

LANE_WAITING_MAX = 100
"""Rows of one lane that wait at once; of more it is only known that they are there."""

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


@dataclass(slots=True)
class _Lane:
    """Rows that share places: those that wait, and how many are worked on."""

    waiting: dict[str, None] = field(default_factory=dict[str, None])
    running: int = 0


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

    __slots__ = (
        "_concurrency",
        "_failures",
        "_lanes",
        "_limit",
        "_more",
        "_places",
        "_planned",
        "_resting",
        "_running",
        "_settled",
        "_turns",
        "_waiting",
        "_wakes",
    )

    def __init__(self, *, concurrency: int, limit: int, lane_concurrency: int = 0) -> None:
        """Start with nothing to do.

        Args:
            concurrency: Rows worked on at once.
            limit: Rows that wait or rest at once; past it nothing new is to be offered.
            lane_concurrency: Rows of one lane worked on at once; 0 where all rows are in one lane, without a limit.
        """
        self._concurrency = concurrency
        self._limit = limit
        self._places = lane_concurrency
        self._waiting = 0
        self._lanes: dict[str, _Lane] = {}
        self._turns: dict[str, None] = {}
        self._more: dict[str, None] = {}
        self._running: dict[str, tuple[int, str]] = {}
        self._resting: dict[str, tuple[float, str]] = {}
        self._planned: set[str] = set()
        self._wakes: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._settled: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether whoever has rows to offer has to wait."""
        return self._waiting + len(self._resting) >= self._limit

    @property
    def idle(self) -> bool:
        """Whether nothing waits, runs or rests after a failure; what has a time of its own may be days ahead."""
        return not (self._waiting or self._running or len(self._resting) > len(self._planned))

    def offer(self, id: str, rev: int = 0, lane: str = "") -> None:
        """A row is to be looked at: for a change that left it at a revision, or (0) because a sweep found it."""
        if rev and rev <= self._settled.get(id, 0):
            return
        if id in self._running:
            changed, lane = self._running[id]
            self._running[id] = (max(changed, rev), lane)
        elif id not in self._failures:
            _ = self._resting.pop(id, None)
            self._planned.discard(id)
            self._wait(id, lane)

    def plan(self, id: str, until: float, rev: int = 0, lane: str = "") -> None:
        """A row is to be looked at at a time, and not before; one that failed is left alone as long as it has to be.

        Where there is no room to remember it, whoever finds it later offers it then.
        """
        if id in self._running:
            self.offer(id, rev)
        elif id not in self._failures:
            self._forget(id, lane)
            _ = self._resting.pop(id, None)
            self._planned.discard(id)
            if len(self._resting) < self._limit // 2:
                self._planned.add(id)
                self._sleep(id, until, lane)

    def take(self, now: float) -> str | None:
        """The next row to work on; None where there is none, or enough are worked on."""
        while (due := self.due()) is not None and due <= now:
            _, id = heapq.heappop(self._wakes)
            _, lane_of_it = self._resting.pop(id)
            self._planned.discard(id)
            self._wait(id, lane_of_it)
        if not self._turns or len(self._running) >= self._concurrency:
            return None
        name = next(iter(self._turns))
        del self._turns[name]
        lane = self._lanes[name]
        id = next(iter(lane.waiting))
        del lane.waiting[id]
        self._waiting -= 1
        lane.running += 1
        self._running[id] = (0, name)
        self._turn(name, lane)
        return id

    def wanting(self) -> str | None:
        """A lane that has more rows than it knows, and room for them now; it is told once. None where there is none."""
        for name in self._more:
            if self.waits_in(name) <= LANE_WAITING_MAX // 2:
                del self._more[name]
                return name
        return None

    def more_of(self, lane: str) -> None:
        """A lane has more rows than were offered; `wanting` tells of it once there is room."""
        self._more[lane] = None

    def waits_in(self, lane: str) -> int:
        """How many rows of a lane wait."""
        found = self._lanes.get(lane)
        return 0 if found is None else len(found.waiting)

    def due(self) -> float | None:
        """When the next row has rested enough; None where none rests."""
        while self._wakes and self._resting.get(self._wakes[0][1], (None,))[0] != self._wakes[0][0]:
            _ = heapq.heappop(self._wakes)
        return self._wakes[0][0] if self._wakes else None

    def done(self, id: str, rev: int) -> None:
        """The work on a row is done, and left it at a revision; 0 where it is gone, or does not match."""
        changed, lane = self._leave(id)
        self._failures.pop(id, None)
        self._settled.pop(id, None)
        if rev:
            if len(self._settled) >= SETTLED_MAX:
                del self._settled[next(iter(self._settled))]
            self._settled[id] = rev
        if changed > rev:
            self._wait(id, lane)

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
        _, lane = self._leave(id)
        if self.full:
            self._failures.pop(id, None)
            return False
        self._sleep(id, until, lane)
        return True

    def _wait(self, id: str, name: str) -> None:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        if id in lane.waiting:
            return
        if self._places and len(lane.waiting) >= LANE_WAITING_MAX:
            _ = self._failures.pop(id, None)
            self.more_of(name)
            return
        lane.waiting[id] = None
        self._waiting += 1
        self._turn(name, lane)

    def _turn(self, name: str, lane: _Lane) -> None:
        """The lane has a turn, behind all others, where it has something to do and a place for it."""
        if lane.waiting and not (self._places and lane.running >= self._places):
            _ = self._turns.setdefault(name)

    def _leave(self, id: str) -> tuple[int, str]:
        """The row is worked on no more; what it was changed to meanwhile, and its lane."""
        changed, name = self._running.pop(id)
        lane = self._lanes[name]
        lane.running -= 1
        self._turn(name, lane)
        self._drop(name, lane)
        return changed, name

    def _forget(self, id: str, name: str) -> None:
        """The row waits no more; it has another time."""
        lane = self._lanes.get(name)
        if lane is not None and id in lane.waiting:
            del lane.waiting[id]
            self._waiting -= 1
            if not lane.waiting:
                _ = self._turns.pop(name, None)
            self._drop(name, lane)

    def _drop(self, name: str, lane: _Lane) -> None:
        if not (lane.waiting or lane.running):
            del self._lanes[name]

    def _sleep(self, id: str, until: float, lane: str) -> None:
        self._resting[id] = (until, lane)
        heapq.heappush(self._wakes, (until, id))
