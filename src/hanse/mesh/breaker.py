"""A circuit breaker, as a pure machine: what fails again and again is left alone for a while.

closed -> (too many failures in a window) -> open -> (after a pause) -> one probe -> closed, or open again.
Only failures of the machinery count (unavailable, no answer in time, internal); a fault that the contract knows is an
answer like any other. So is "overloaded": whoever says it works at its limit, and to leave it alone would turn a share
of refusals into an outage. What is told at once of one instance says nothing of the operation, and does not count
either: that a connection broke, that nobody is there, or that a node which stops has not begun.
"""

from __future__ import annotations

import enum

WINDOW_SECONDS = 10.0
"""How long calls are counted together, from the first failure on."""

CALLS_MIN = 20
"""Calls in the window before it is judged: one failure of two is no evidence."""

FAILURES_RATIO = 0.5
"""Share of failures from which it opens."""

PAUSE_SECONDS = 5.0
"""How long it stays open before a probe."""

COUNTED = frozenset({"unavailable", "deadline_exceeded", "internal"})
"""Codes of the faults that count."""


class State(enum.Enum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """One breaker, for one target. Time comes in with each question.

    Example:
        >>> breaker = Breaker()
        >>> for _ in range(CALLS_MIN):
        ...     breaker.record(failed=True, now=0.0)
        >>> breaker.allows(now=1.0), breaker.allows(now=6.0), breaker.state.value
        (False, True, 'probing')
    """

    __slots__ = ("_failures", "_since", "calls", "closed", "state")

    def __init__(self) -> None:
        self.state: State = State.CLOSED
        self.closed: bool = True  # what every call asks, faster to read than the state
        self.calls: int = 0  # of the window; who is answered well while it is closed just counts
        self._since = 0.0
        self._failures = 0

    def allows(self, now: float) -> bool:
        """Whether a call may go; opens the door for one probe when the pause is over."""
        if self.closed:
            return True
        # A probe that never came back (its task was cancelled) must not keep the door shut for ever.
        if now - self._since < PAUSE_SECONDS:
            return False
        self._turn(State.PROBING, now)
        return True

    def record(self, *, failed: bool, now: float) -> None:
        """A call came back."""
        if self.state is State.PROBING:
            self._turn(State.OPEN if failed else State.CLOSED, now)
        elif not failed:
            self.calls += 1
        elif self.closed:
            self._fail(now)

    def _fail(self, now: float) -> None:
        if now - self._since >= WINDOW_SECONDS:
            # The window begins with its first failure: what went well before says nothing about now.
            self._turn(State.CLOSED, now)
        self.calls += 1
        self._failures += 1
        if self.calls >= CALLS_MIN and self._failures >= FAILURES_RATIO * self.calls:
            self._turn(State.OPEN, now)

    def _turn(self, state: State, now: float) -> None:
        self.state = state
        self.closed = state is State.CLOSED
        self._since = now
        self.calls = self._failures = 0
