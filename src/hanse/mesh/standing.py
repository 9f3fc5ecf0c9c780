"""Whether an instance is given calls: a breaker for each, and a comparison with its like, as pure machines.

in -> (lost | silent | outlier) -> out, for a time that doubles -> trial -> in, or out again

- lost: its connection broke. Discovery makes sure that it lives; until it says so, it is asked again now and then.
- silent: nothing at all came back from it, several times in a row.
- outlier: it fails where others that serve the same do not. Where all fail alike, the fault is not the instance's, and
  to leave some alone would only burden the rest. So it is at most a share of them that is left alone for this.

On trial it is given one call at a time, where there are others; its first failure ends the trial.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence

import msgspec

SILENT_MAX = 10
"""Calls in a row without any answer, be it a fault, after which it is out."""

FAILURES_MAX = 5
"""Failures in a row after which it is compared with the others."""

CALLS_MIN = 20
"""Calls in a window from which on its share of failures is compared with that of the others."""

GAP_MIN = 0.3
"""How much larger than that of the others its share of failures has to be."""

WINDOW_SECONDS = 10.0
"""How long calls are counted together, from the first failure on."""

OUTLIERS_SHARE = 1 / 3
"""Share of the instances of a service that may be out as outliers at once; one always may, where there are two."""

OUT_SECONDS, OUT_SECONDS_MAX = 5.0, 300.0
"""How long an instance is out for the first time, and at most."""

LOST_SECONDS, LOST_SECONDS_MAX = 0.1, 5.0
"""The same where its connection broke: to ask it again costs an attempt to connect, and no failed call."""

TRIAL_CALLS = 5
"""Answers in a row that end its trial."""

FORGIVEN_SECONDS = 60.0
"""How long it has to be in, until the next time is a first one."""

OUT_TIMES_MAX = 16
"""How often in a row its time is doubled at most."""


class State(enum.Enum):
    """Whether it is given calls, and why not."""

    IN = "in"
    TRIAL = "trial"
    LOST = "lost"
    SILENT = "silent"
    OUTLIER = "outlier"

    @property
    def out(self) -> bool:
        """Whether it is given none."""
        return self not in (State.IN, State.TRIAL)


class Standing:
    """What is known of the calls to one instance. Time comes in with each question.

    Example:
        >>> standing = Standing()
        >>> standing.leave(State.LOST, now=0.0)
        >>> standing.state, standing.until
        (<State.LOST: 'lost'>, 0.1)
        >>> standing.look(now=0.2)
        >>> standing.state
        <State.TRIAL: 'trial'>
    """

    __slots__ = ("calls", "clean", "failures", "row", "silent", "since", "state", "times", "until")

    def __init__(self) -> None:
        self.state: State = State.IN
        self.clean: bool = True
        """Nothing is to be noted but that a call went well: what every call asks."""
        self.until: float = 0.0
        """When it may come back, where it is out."""
        self.times: int = 0
        """How often in a row it was out."""
        self.calls: int = 0
        self.failures: int = 0
        """Of the window."""
        self.row: int = 0
        """Failures in a row; on trial, answers in a row."""
        self.silent: int = 0
        """Calls in a row without any answer."""
        self.since: float = 0.0
        """When its state, or its window, began."""

    def answered(self) -> None:
        """A call came to an answer that is none of its failures."""
        self.calls += 1
        if self.clean:
            return
        self.silent = 0
        if self.state is State.TRIAL:
            self.row += 1
            if self.row >= TRIAL_CALLS:
                self.state = State.IN
        if self.state is State.IN:
            self.row = 0
            self.clean = True

    def failed(self, now: float, *, silent: bool) -> None:
        """A call failed.

        Args:
            now: The moment.
            silent: Whether nothing at all came back from it.
        """
        if self.state is State.IN and now - self.since >= WINDOW_SECONDS:
            # What went well before the window's first failure says nothing about now.
            self.since, self.calls, self.failures = now, 0, 0
        self.calls += 1
        self.failures += 1
        self.silent = self.silent + 1 if silent else 0
        self.clean = False
        if self.state is State.TRIAL:
            self.leave(State.SILENT if silent else State.OUTLIER, now)
        elif self.state is State.IN:
            self.row += 1
            if self.silent >= SILENT_MAX:
                self.leave(State.SILENT, now)

    def leave(self, state: State, now: float) -> None:
        """It is out from now on; what else came of calls that were under way then changes nothing about it."""
        if self.state.out:
            return
        if self.state is State.IN and now - self.since >= FORGIVEN_SECONDS:
            self.times = 0
        first, most = (LOST_SECONDS, LOST_SECONDS_MAX) if state is State.LOST else (OUT_SECONDS, OUT_SECONDS_MAX)
        self.until = now + min(most, first * 2.0**self.times)
        self.times = min(self.times + 1, OUT_TIMES_MAX)
        self._turn(state, now)

    def look(self, now: float) -> None:
        """Give it a trial, if its time is over."""
        if self.state.out and now >= self.until:
            self._turn(State.TRIAL, now)

    def found(self, now: float) -> None:
        """Discovery says that it lives: if only its connection was lost, it may be asked."""
        if self.state is State.LOST:
            self._turn(State.TRIAL, now)

    def _turn(self, state: State, now: float) -> None:
        self.state, self.since, self.clean = state, now, False
        self.calls = self.failures = self.row = self.silent = 0


class Tally(msgspec.Struct, frozen=True):
    """What is compared of an instance: calls of its window, how many failed, and how many in a row the last."""

    calls: int
    failures: int
    row: int


def is_outlier(one: Tally, others: Iterable[Tally]) -> bool:
    """Whether an instance fails where others that serve the same do not.

    Example:
        >>> is_outlier(Tally(5, 5, 5), [Tally(30, 0, 0)]), is_outlier(Tally(5, 5, 5), [Tally(30, 29, 9)])
        (True, False)
    """
    calls = failures = 0
    for other in others:
        calls += other.calls
        failures += other.failures
    if not calls:
        return False
    usual = failures / calls
    in_a_row = one.row >= FAILURES_MAX and usual < 1 - GAP_MIN
    return in_a_row or (one.calls >= CALLS_MIN and one.failures / one.calls >= usual + GAP_MIN)


def outliers_max(instances: int) -> int:
    """How many of the instances of a service may be out as outliers at once.

    Example:
        >>> [outliers_max(n) for n in (1, 2, 3, 6)]
        [0, 1, 1, 2]
    """
    return max(int(instances * OUTLIERS_SHARE), 1 if instances > 1 else 0)


def may_leave(name: str, groups: Sequence[Mapping[str, State]]) -> bool:
    """Whether one more outlier may be out: in every service that it is part of, the share has to hold.

    Args:
        name: The instance.
        groups: For each service that it serves, the states of all that do, by their names.
    """
    for group in groups:
        out = sum(state is State.OUTLIER for other, state in group.items() if other != name)
        if out >= outliers_max(len(group)):
            return False
    return True
