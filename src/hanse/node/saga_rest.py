"""Sagas that only wait, and are not at work meanwhile: of each there is a moment, and what it waits for.

A saga that waits for a day holds its code, its journal and some tasks in memory. Where many do, the code of those that
have waited longest is dropped, as if this process had died, and run again from the journal when its time has come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import final

from hanse.node.saga_mail import Wait


class AtRest(Exception):
    """A run is given up, as its saga only waits; it goes on when there is something to do."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What ends the rest of a saga.

    Attributes:
        rev: Of its row, as this process knows it.
        until: Wall-clock second at which it goes on by itself.
        waits: Any of these, too.
    """

    rev: int
    until: float
    waits: Sequence[Wait] = ()

    @property
    def stirred(self) -> bool:
        """Whether one of them has come."""
        return any(wait.came.is_set() for wait in self.waits)

    def close(self) -> None:
        """Wait no more."""
        for wait in self.waits:
            wait.close()


@final
class Resting:
    """The sagas of one service that rest.

    Example:
        >>> resting = Resting()
        >>> resting.add("a", Rest(rev=1, until=60.0))
        >>> resting.add("b", Rest(rev=2, until=30.0))
        >>> resting.next, resting.due(20.0), resting.due(45.0)
        (30.0, None, 'b')
        >>> resting.end("b")
        >>> resting.hurry("a")
        >>> resting.due(45.0), len(resting)
        ('a', 1)
    """

    def __init__(self) -> None:
        self._rests: dict[str, Rest] = {}
        self._moments: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._rests)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rests)

    def __contains__(self, id: str) -> bool:
        return id in self._rests

    @property
    def next(self) -> float | None:
        """When the first of them has to go on; None where there is none."""
        while self._moments and not self._is_of(*self._moments[0]):
            _ = heappop(self._moments)
        return self._moments[0][0] if self._moments else None

    def add(self, id: str, rest: Rest) -> None:
        """Have a saga rest."""
        self._rests[id] = rest
        heappush(self._moments, (rest.until, id))

    def knows(self, id: str, rev: int) -> bool:
        """Whether what was written of a saga that rests is no news."""
        return rev <= self._rests[id].rev

    def hurry(self, id: str) -> None:
        """Let the moment of a saga that rests be now."""
        self.add(id, replace(self._rests[id], until=0.0))

    def due(self, now: float) -> str | None:
        """The first whose moment has come, if there is one; it rests on until `end`."""
        moment = self.next
        return None if moment is None or moment > now else self._moments[0][1]

    def end(self, id: str) -> None:
        """A saga rests no more, or never did."""
        if (rest := self._rests.pop(id, None)) is not None:
            rest.close()

    def clear(self) -> None:
        """None rests any more."""
        for id in list(self._rests):
            self.end(id)

    def _is_of(self, moment: float, id: str) -> bool:
        return (rest := self._rests.get(id)) is not None and rest.until == moment
