"""Judges a new release by what it and the old one answer side by side; pure: time and traffic come in as values.

    heard: a window of traffic -> what is known, as a value that can be stored, and does not grow
    judge: what is known -> a verdict: go on, wait, hold, roll back

- Roll back: a hard guard says so, or there is evidence that it is worse, and that not by one instance alone. The chance
  that this ever happens to a release that is no worse is `Terms.alpha` for all metrics and all looks together.
- Go on: it is known to be no worse, or to have less of it than anybody minds, by each metric; and enough was asked for
  long enough, and nothing speaks against it, not even evidence that is too weak to roll back, unless it is of long ago
  and of less than anybody minds.
- Hold: the time is up, and that is not known. Nobody goes on because nothing was seen.

Judging goes on while it holds: what is heard later may still roll back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, inf

import msgspec
from msgspec.structs import replace

from hanse.control.evidence import below, requests_below, requests_for
from hanse.control.guards import Guarded
from hanse.control.signal import Signal
from hanse.control.verdict import Shown, Verdict, finite
from hanse.control.weighing import METRICS, Metric, Weighed, compared, counted, weigh
from hanse.control.window import Both, Window, folded

ROUTES_MAX = 512
"""Routes that wait until both releases were asked; what comes beyond is taken for one route."""

WAIT_SECONDS = 60.0
"""How long what one release answered on a route waits for the other to be asked there; then it is left out."""

AGREED = 20.0
"""Evidence that there has to be without any one instance."""

FLOOR_MAX = 0.3
"""The largest part of requests that nobody minds, however small a part of all the new release gets."""

INTERVAL = 0.05
"""The chance that a ratio is ever outside of its interval."""


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it takes to go on, and to roll back.

    Attributes:
        alpha: The chance that a release that is no worse is ever rolled back.
        beta: The chance that one which is worse than is tolerated is taken to be no worse, and gets everything.
        next_share: The part of the traffic that going on leads to. What is tolerated there is what harms everybody
            together no more than 1.5 times as many failures would at everything: 2 times at a half, 6 times at a tenth.
        requests_min: Requests and messages of the new release within a step, at least.
        seconds_min: How long a step lasts, at least.
        deadline_seconds: How long it may last before somebody has to look.
        metrics: What is compared.
    """

    alpha: float = 0.001
    beta: float = 0.05
    next_share: float = 1.0
    requests_min: int = 500
    seconds_min: float = 120.0
    deadline_seconds: float = 900.0
    metrics: tuple[Metric, ...] = METRICS


class Judging(msgspec.Struct, frozen=True):
    """All that is known of a new release beside the old one; a value of bounded size, to be stored in a row.

    Attributes:
        terms: What it takes.
        at: Seconds since the rollout began, of what was heard last.
        step_at, step_asked: When the step began, and what the new release had been asked until then.
        weighed: Each metric.
        waiting: What one release alone was asked on a route, and since when that waits.
        guarded: What the guards remember.
    """

    terms: Terms
    at: float = 0.0
    step_at: float = 0.0
    step_asked: int = 0
    weighed: tuple[Weighed, ...] = ()
    waiting: dict[str, tuple[float, Both]] = {}
    guarded: Guarded = Guarded()

    @property
    def step_seconds(self) -> float:
        """How long the step has lasted."""
        return self.at - self.step_at

    @property
    def step_requests(self) -> int:
        """Requests and messages of the new release within the step."""
        return max((one.new.of for one in self.weighed), default=0) - self.step_asked


def judging(terms: Terms | None = None) -> Judging:
    """What is known before anything was asked.

    Args:
        terms: What it takes; the usual terms by default.
    """
    known = terms or Terms()
    return Judging(known, weighed=tuple(map(weigh, known.metrics)))


def stepped(known: Judging, terms: Terms | None = None) -> Judging:
    """What is known, at the beginning of the next step; all that was learned stays.

    Args:
        known: What is known.
        terms: Of this step, where they are others; by the same metrics.
    """
    step = replace(terms or known.terms, metrics=known.terms.metrics)
    return replace(known, terms=step, step_at=known.at, step_asked=known.step_asked + known.step_requests)


def heard(known: Judging, window: Window) -> Judging:
    """What is known after one more window; one that was heard before changes nothing.

    Args:
        known: What was known before.
        window: What came since.

    Example:
        >>> from hanse.control.window import Outcomes
        >>> known = judging()
        >>> for second in (1.0, 2.0):
        ...     both = Both(new={"b1": Outcomes(10, failed=5)}, old={"a1": Outcomes(190)})
        ...     known = heard(known, Window(second, {"GET /orders": both}))
        >>> judge(known).decision
        'roll_back'
    """
    if window.at <= known.at:
        return known
    waiting, ready = dict(known.waiting), dict[str, Both]()
    routes = folded(window.routes, waiting, ROUTES_MAX)
    for route, both in routes.items():
        since, before = waiting.pop(route, (window.at, Both()))
        if (together := before + both).compares:
            ready[route] = together
        else:
            waiting[route] = (since, together)
    weighed = (counted(one, routes.values()) for one in known.weighed)
    return replace(
        known,
        at=window.at,
        weighed=tuple(compared(one, ready, window.at) for one in weighed),
        waiting={route: one for route, one in waiting.items() if window.at - one[0] < WAIT_SECONDS},
        guarded=known.guarded.after(window),
    )


def judge(known: Judging) -> Verdict:
    """What is to be done about the release, and why."""
    terms, signals = known.terms, known.guarded.signals()
    shown = tuple(_shown(one, terms) for one in known.weighed)
    verdict = Verdict(
        decision="go_on",
        reason="no worse than the old release, as far as anybody minds",
        at=known.at,
        step_seconds=known.step_seconds,
        step_requests=known.step_requests,
        metrics=shown,
        signals=signals,
        notes=tuple(_notes(known)),
    )
    if harm := next(_harm(known, signals), ""):
        return replace(verdict, decision="roll_back", reason=harm)
    if doubt := next(_doubts(known, signals, shown), ""):
        late = known.step_seconds >= terms.deadline_seconds
        return replace(verdict, decision="hold" if late else "wait", reason=doubt)
    return verdict


def _harm(known: Judging, signals: Iterable[Signal]) -> Iterator[str]:
    """What is known to be bad."""
    yield from (one.says for one in signals if one.certain)
    for one in known.weighed:
        if one.worse >= _needed(one.metric, known.terms) and one.agreed >= AGREED:
            where = one.whole.worst(one.borne)
            yield (
                f"{one.metric.name}: {one.new.events} of {one.new.of}, and {one.old.events} of {one.old.of} of the old "
                f"release" + (f"; at {where} above all" if where else "")
            )


def _doubts(known: Judging, signals: Iterable[Signal], shown: Sequence[Shown]) -> Iterator[str]:
    """What keeps it from going on, the worst first."""
    terms = known.terms
    for one in known.weighed:
        if one.worse >= _needed(one.metric, terms):
            yield f"{one.metric.name}: only {one.alone} is worse so far: look at its machine, or replace it"
    yield from (one.says for one in signals)
    for one, metric in zip(known.weighed, shown, strict=True):
        if one.worse >= 1.0 / terms.beta and not _is_past(one, metric):
            yield f"{one.metric.name}: it looks worse, and that is not sure yet"
    if known.step_requests < max(1, terms.requests_min):
        yield f"too little traffic: {known.step_requests} of {max(1, terms.requests_min)} requests of the new release"
    if known.step_seconds < terms.seconds_min:
        yield f"{known.step_seconds:.0f} of {terms.seconds_min:.0f} s"
    for metric in shown:
        if metric.new and not metric.is_proven:
            more = f"; needs about {metric.requests:,} more requests" if metric.requests else ""
            yield f"{metric.metric}: not known to be no worse yet{more}"


def _is_past(one: Weighed, metric: Shown) -> bool:
    """Whether what looks worse is rarer than anybody minds, and has not come again for long enough to know that.

    Requests that go well at both releases do not say which of them is better, however many there are: what a few
    failures have said by chance would be held against it until the end.
    """
    return min(metric.below, below(metric.floor, events=0, of=one.sound)) >= metric.proven


def _needed(metric: Metric, terms: Terms) -> float:
    return 1.0 / (terms.alpha * metric.stake)


def _notes(known: Judging) -> Iterator[str]:
    for one in known.weighed:
        if one.borne > one.metric.borne:
            yield (
                f"{one.metric.name}: instances of the old release differ {one.apart:.1f} times at least: "
                f"{one.borne:.1f} times as often is borne of the new one"
            )


def _shown(one: Weighed, terms: Terms) -> Shown:
    evidence, metric = one.even, one.metric
    tolerated = 1.0 + (metric.tolerated - 1.0) / terms.next_share
    floor = min(FLOOR_MAX, metric.floor / terms.next_share)
    low, high = evidence.interval(INTERVAL)
    known = evidence.new_events + evidence.old_events
    proven = 1.0 / terms.beta
    # Where instances differ anyway, to be like others proves nothing: what nobody minds has to do.
    no_worse = evidence.no_worse(tolerated) if one.borne == metric.borne else 1.0
    shown = Shown(
        metric=metric.name,
        new=one.new.of,
        old=one.old.of,
        new_events=one.new.events,
        old_events=one.old.events,
        ratio=finite(evidence.ratio) if known else None,
        low=finite(low),
        high=finite(high),
        worse=finite(one.worse) or 0.0,
        worse_needed=finite(_needed(metric, terms)) or 0.0,
        no_worse=finite(no_worse) or 0.0,
        below=finite(below(floor, events=one.new.events, of=one.new.of)) or 0.0,
        proven=proven,
        borne=finite(one.borne) or 0.0,
        tolerated=finite(tolerated) or 1.0,
        floor=floor,
        requests=None,
        worst=one.whole.worst(one.borne),
        curve=one.curve.points,
    )
    wanted = _requests(one, shown, terms)
    return replace(shown, requests=None if wanted == inf else ceil(wanted))


def _requests(one: Weighed, shown: Shown, terms: Terms) -> float:
    """About how many more it takes to roll back, where it looks worse; else to go on, if it is as the old one."""
    asked = shown.new + shown.old
    if shown.is_proven or shown.worse >= shown.worse_needed or not asked:
        return 0.0 if asked else inf
    share = shown.new / asked
    rate = (shown.old_events + 0.5) / (shown.old + 1.0)
    ratio = one.even.ratio
    if shown.worse >= 1.0 / terms.beta and one.borne < ratio < inf:
        left = shown.worse_needed / shown.worse
        return requests_for(left, ratio=ratio, than=one.borne, share=share, rate=rate)
    alike = requests_for(shown.proven / shown.no_worse, ratio=1.0, than=shown.tolerated, share=share, rate=rate)
    rare = requests_below(shown.proven / shown.below, floor=shown.floor, rate=rate)
    return min(alike, rare / share if share else inf)
