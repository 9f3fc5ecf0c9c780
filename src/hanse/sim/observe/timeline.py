"""What a row was, moment by moment, for as long as somebody still waits for an answer about it."""

from __future__ import annotations

from typing import final

import msgspec

MOMENTS_MAX = 10_000
"""Moments of one row that are kept; whoever has waited for longer is given up."""

WAIT_SECONDS = 120.0
"""How long an answer is waited for; one that comes later is not looked at."""

Ask = tuple[str, int]
"""A question on its way: the id of its message, and which try it is."""


class Moment(msgspec.Struct, frozen=True):
    """What a row is from some moment on.

    Attributes:
        at: Second of the world's clock.
        rev: Position of the commit that made it so; 0 before the first.
        value: The row as JSON; None where there is none.
        known: Whether that is known at all.
    """

    at: float
    rev: int = 0
    value: bytes | None = None
    known: bool = True


NEVER = Moment(0.0)
"""A row before its first write."""


@final
class Timeline:
    """One row.

    Example:
        >>> row = Timeline()
        >>> row.begin(("a", 1), 1.0)
        >>> row.add(Moment(2.0, 7, b"{}"))
        0
        >>> row.since(1.0) == [NEVER, row.last], row.since(2.0) == [row.last], row.end(("a", 1))
        (True, True, 1.0)
    """

    __slots__ = ("moments", "waiting")

    def __init__(self) -> None:
        """A row that is not there."""
        self.moments: list[Moment] = [NEVER]
        self.waiting: dict[Ask, float] = {}

    @property
    def last(self) -> Moment:
        """What it is now."""
        return self.moments[-1]

    def begin(self, ask: Ask, now: float) -> None:
        """Somebody asks about it: what it is from now on is kept until the answer."""
        self.waiting[ask] = now

    def end(self, ask: Ask) -> float | None:
        """When an answered question was asked; None where it was given up, or never asked."""
        return self.waiting.pop(ask, None)

    def add(self, moment: Moment) -> int:
        """It changes; how many questions are given up, since they have waited for too long."""
        given_up = 0
        while self.waiting:
            ask, since = next(iter(self.waiting.items()))
            if moment.at - since <= WAIT_SECONDS and len(self.moments) < MOMENTS_MAX:
                break
            del self.waiting[ask]
            given_up += 1
            self.tidy()
        self.tidy()
        self.moments.append(moment)
        if not self.waiting:
            del self.moments[:-1]
        return given_up

    def since(self, start: float) -> list[Moment]:
        """What it was at some second, and has been since."""
        first = next((place for place in range(len(self.moments) - 1, -1, -1) if self.moments[place].at <= start), 0)
        return self.moments[first:]

    def at(self, rev: int) -> Moment | None:
        """What it was, or is, at a revision; None where that is forgotten, or never was."""
        return next((moment for moment in self.moments if moment.rev == rev and moment.value is not None), None)

    def tidy(self) -> None:
        """Forget what was over before the oldest question."""
        if not self.waiting:
            del self.moments[:-1]
            return
        oldest, gone = next(iter(self.waiting.values())), 0
        while gone + 1 < len(self.moments) and self.moments[gone + 1].at <= oldest:
            gone += 1
        del self.moments[:gone]
