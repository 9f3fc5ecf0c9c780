"""What a judge says of a release, and all that it goes by; as a value, as text, and as JSON."""

from __future__ import annotations

from math import inf

import msgspec

from hanse.control.rollout import Ruling
from hanse.control.signal import Signal

WORDS: dict[Ruling, str] = {"go_on": "go on", "wait": "wait", "hold": "hold", "roll_back": "roll back"}


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of one metric.

    Attributes:
        metric: What it counts.
        new, old: Requests and messages of each release.
        new_events, old_events: How many of them came to such an event.
        ratio: How many times as often the new one has them, by route and in the same seconds; None for unknown.
        low, high: Between which ratios the true one is; None where that is beyond what is looked at.
        worse: How many times as likely what was seen is if it is worse than is borne, as if it is not.
        worse_needed: From which on that is believed.
        no_worse: The same for being no worse than is tolerated.
        below: The same for less events than anybody minds.
        proven: From which on these are believed.
        borne, tolerated: How many times as often is not worse; less than how many times is no worse.
        floor: The part that nobody minds.
        requests: About how many more of both it takes until it is known; 0 where it is, None where none would suffice.
        worst: The route that says most by itself; empty where all say it together.
        curve: Seconds since the rollout began, and the decimal logarithm of `worse` then.
    """

    metric: str
    new: int
    old: int
    new_events: int
    old_events: int
    ratio: float | None
    low: float | None
    high: float | None
    worse: float
    worse_needed: float
    no_worse: float
    below: float
    proven: float
    borne: float
    tolerated: float
    floor: float
    requests: int | None
    worst: str = ""
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def is_proven(self) -> bool:
        """Whether it is known to be no worse, or below what anybody minds."""
        return max(self.no_worse, self.below) >= self.proven

    def text(self) -> str:
        """One line of it."""
        if not self.new + self.old:
            return f"{self.metric}: nobody knows"
        none = "all new" if self.new_events else "unknown"
        ratio = none if self.ratio is None else f"{_short(self.ratio)} x"
        low, high = _short(self.low or 0.0), "any" if self.high is None else _short(self.high)
        more = "" if self.requests == 0 else f"; {_requests(self.requests)}"
        return (
            f"{self.metric}: {self.new_events} of {self.new}, old {self.old_events} of {self.old}; "
            f"ratio {ratio} ({low} to {high}); evidence: worse {_short(self.worse)} of {_short(self.worse_needed)}, "
            f"no worse {_short(self.no_worse)}, rare {_short(self.below)} of {_short(self.proven)}{more}"
        )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about a new release, and why.

    Attributes:
        decision: `go_on` to the next step, `wait` for more evidence, `hold` as there is not enough in time and somebody
            has to look, or `roll_back`.
        reason: Why, in words.
        at: Seconds since the rollout began.
        step_seconds, step_requests: How long the step has lasted, and requests of the new release within it.
        metrics: The evidence.
        signals: What else speaks against it.
        notes: What has to be known to read it.

    Example:
        >>> verdict = Verdict(decision="wait", reason="5 of 120 s", at=5.0, step_seconds=5.0, step_requests=12)
        >>> print(verdict.text())
        wait: 5 of 120 s
          after 5 s; in this step 5 s, 12 requests of the new release
    """

    decision: Ruling
    reason: str
    at: float
    step_seconds: float
    step_requests: int
    metrics: tuple[Shown, ...] = ()
    signals: tuple[Signal, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """All of it, for people: a line each."""
        head = f"{WORDS[self.decision]}: {self.reason}"
        when = (
            f"after {self.at:.0f} s; in this step {self.step_seconds:.0f} s, {self.step_requests} requests of the new"
        )
        lines = [f"{when} release", *(one.text() for one in self.metrics)]
        lines += [f"{one.name}: {one.says}" for one in self.signals]
        return "\n  ".join((head, *lines, *self.notes))

    def to_json(self) -> bytes:
        """All of it, for programs; every number in it is finite."""
        return msgspec.json.encode(self)


def finite(value: float, digits: int = 4) -> float | None:
    """A number as it can be told in JSON: None for an infinite one, and no digits that say nothing.

    Example:
        >>> finite(inf), finite(1.234567)
        (None, 1.235)
    """
    return None if value == inf else float(f"{value:.{digits}g}")


def _short(value: float) -> str:
    return f"{value:,.0f}" if 100.0 <= value < 1e6 else f"{value:.2g}"  # noqa: PLR2004 - what is read with ease


def _requests(requests: int | None) -> str:
    return "no number of requests would tell" if requests is None else f"needs about {requests:,} more requests"
