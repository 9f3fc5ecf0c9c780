"""What two releases that run side by side say about one another: evidence that may be looked at at any time.

Both are asked the same things in the same seconds, so whatever befalls both (a database that is slow, a wave of bad
requests) cancels out. Traffic is cut into slices: one route, a few seconds. In each, `n` requests went to the new
release and `m` to the old, and some came to bad *events* (an error, a slow answer). If the new one has them `r` times
as often, an event is the new one's with the chance `p(r) = r n / (r n + m)`, however often they are.

**Why it is never wrong more often than it says.** A slice multiplies the evidence for a ratio `s` against a ratio `r`
by `(p(s) / p(r)) ** new events * ((1 - p(s)) / (1 - p(r))) ** old events`. If the rates are `r q` and `q`, what is
expected of that is at most `exp(q (r n (p(s) / p(r) - 1) + m ((1 - p(s)) / (1 - p(r)) - 1)))`, as 1 + x <= exp(x), and
the exponent is 0 for any `q`, `n` and `m`. For `s > r` it is below 0 where the true ratio is below `r`. So the product
is at most 1 in expectation after any number of slices, and has a chance of at most `a` to ever reach `1 / a` (Ville
1939): however often it is looked at, whatever the shares of both are meanwhile. Means of such products are such again,
so there is no need to guess the ratio, nor when it began.

**Why it does not forget to look.** A release that was good for an hour has piled up an hour of evidence in its favour,
which one that goes bad then would first have to use up. So a part of the stake is kept back, and at each window a bit
of it begins anew: `1 / (t (t + 1))` at window `t`, in all 1. Whoever is bad from the start pays a factor of 2 for it.

**Why nothing becomes infinite.** All is kept as logarithms of sums that are finite: both sides of a slice that counts
have been asked, so no chance in it is 0 or 1. Only "the new one has no events at all" is refuted for good by the first
one, and that is right; it is a quarter of what is staked on it being better.

Sources: Wald, "Sequential Analysis", 1947; Ramdas et al., "Game-Theoretic Statistics and Safe Anytime-Valid Inference",
Statistical Science 2023; Lindon, Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022; Shin,
Ramdas, Rinaldo, "E-detectors", 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import exp, inf, log, log1p

import msgspec

RATIOS: tuple[float, ...] = tuple(10.0 ** (step / 10.0) for step in range(-20, 41))
"""All ratios that are looked at: from a hundredth to ten thousand times as often, ten to a decade."""

BORNE = tuple(RATIOS[20 + step] for step in (0, 1, 2, 3, 5, 7, 10, 20))
"""How many times as often it may be borne that the new release has events: 1.0, 1.26, 1.6, 2.0, 3.2, 5, 10, 100."""

EVIDENCE_MAX = 1e300
"""What is told of evidence at most; nobody asks for more."""

_ONE = 20
_LOGS = tuple(log(ratio) for ratio in RATIOS)
_STEP = log(10.0) / 10.0
_LESS = tuple(ratio - 1.0 for ratio in RATIOS)
# Steps from what is borne to how much worse a release may be: 1.6, 2, 3.2, 5, 10, 32 and 100 times; each is as likely.
_WORSE = (2, 3, 5, 7, 10, 15, 20)
# The same from what is tolerated to how much better, besides not at all: 0.25, 0.5 and 0.8 times.
_BETTER = (-6, -3, -1)
# Parts of a rate that nobody minds which a release may have.
_BELOW = (0.0, 0.1, 0.25, 0.5, 0.75)
_MOST = log(EVIDENCE_MAX)


class Slice(msgspec.Struct, frozen=True):
    """What came of one route in a few seconds.

    Attributes:
        new, old: How many each release answered.
        new_events, old_events: How many of these came to a bad event.
        part: How much of each event counts, from 0 to 1: less than 1 for a burst, which has one cause. It may depend on
            what came before, and on how many events there were of both together, but not on whose they were.
        excused: How many of the new release's events do not count, as one stall explains them; below 0 where such
            that were left out before turn out to be no stall's. So it is told no earlier and no more than there was
            what speaks against it, and that is wrong no more often; see `hanse.control.lateness`.
    """

    new: int
    old: int
    new_events: int = 0
    old_events: int = 0
    part: float = 1.0
    excused: float = 0.0


class Evidence(msgspec.Struct, frozen=True):
    """How often two releases have an event; a value of one size, however long it goes on.

    Attributes:
        new, old: How many were answered so far.
        new_events, old_events: How many events there were, all of them.
        windows: Windows in which something counted.
        counted: Events of the new release, as they count.
        spread, none: What of the likelihood of each ratio, and of 0, the number of its events does not tell.
        since: Logarithms of what was staked on each ratio beyond each that may be borne, and has grown since.

    Example:
        >>> evidence = Evidence()
        >>> for _ in range(3):
        ...     evidence = evidence.after([Slice(new=12, old=238, new_events=2)])
        >>> evidence.worse() > 1_000
        True
        >>> low, high = evidence.interval(0.05)
        >>> low > 5.0, high
        (True, inf)
    """

    new: int = 0
    old: int = 0
    new_events: int = 0
    old_events: int = 0
    windows: int = 0
    counted: float = 0.0
    spread: tuple[float, ...] = (0.0,) * len(RATIOS)
    none: float = 0.0
    since: tuple[tuple[float, ...], ...] = ()

    def after(self, slices: Iterable[Slice]) -> Evidence:
        """What is known after one more window, of so many slices.

        A slice in which only one of the two was asked, or in which nothing happened, says nothing of both.
        """
        taken = list(slices)
        known = msgspec.structs.replace(
            self,
            new=self.new + sum(one.new for one in taken),
            old=self.old + sum(one.old for one in taken),
            new_events=self.new_events + sum(one.new_events for one in taken),
            old_events=self.old_events + sum(one.old_events for one in taken),
        )
        telling = [one for one in taken if one.new and one.old and one.part and one.new_events + one.old_events]
        return _grown(known, telling) if telling else known

    def worse(self, borne: float = 1.0) -> float:
        """The evidence that the new release is worse than is borne: 1 for none, 1,000 for next to certainty.

        Args:
            borne: How many times as often it may have events; one of `BORNE`.
        """
        unspent = -log(self.windows + 1)
        if not self.since:
            return 1.0
        row = self.since[BORNE.index(borne)]
        return _told(_log_of_sum([*(one - log(len(row)) for one in row), unspent]))

    def no_worse(self, tolerated: float) -> float:
        """The evidence that it has events less than so many times as often.

        Args:
            tolerated: How many times; that of `RATIOS` which is nearest.
        """
        base = _nearest(tolerated)
        parts = [self._likelihood(base + step) for step in _BETTER]
        if not self.counted:
            parts.append(-self.none)
        return _told(_log_of_sum(parts) - log(len(_BETTER) + 1) - self._likelihood(base))

    def interval(self, error: float) -> tuple[float, float]:
        """Between which ratios the true one is, at all times together, but for a chance of `error`.

        Returns:
            The least and the greatest; 0 and infinite where that is beyond what is looked at.
        """
        if not self.windows:
            return (0.0, inf)
        known = [self._likelihood(at) for at in range(len(RATIOS))]
        peak = max(known)
        likely = [exp(one - peak) for one in known]
        low, high = _refuted(likely, 2.0 / error), _refuted(likely[::-1], 2.0 / error)
        return (RATIOS[low - 1] if low else 0.0, RATIOS[-high] if high else inf)

    @property
    def ratio(self) -> float:
        """How many times as often the new release has events: the ratio under which what was seen is most likely.

        Infinite where only the new one has any; 1 where there are none.
        """
        if not self.windows or not self.counted:
            return 0.0 if self.windows else 1.0
        known = [self._likelihood(at) for at in range(len(RATIOS))]
        peak = max(range(len(RATIOS)), key=known.__getitem__)
        if peak in {0, len(RATIOS) - 1}:
            return inf if peak else RATIOS[0]
        before, there, beyond = known[peak - 1 : peak + 2]
        # What is between two ratios is told by the parabola through the three.
        return RATIOS[peak] * exp(_STEP / 2.0 * (before - beyond) / (before - 2.0 * there + beyond))

    def _likelihood(self, at: int) -> float:
        """The logarithm of how likely what was seen is under one ratio, but for what is the same under all."""
        return self.counted * _LOGS[at] - self.spread[at]


def below(floor: float, *, events: int, of: int) -> float:
    """The evidence that a release has less events than anybody minds, whatever another one has; 1 for none.

    Args:
        floor: The part of requests that nobody minds, above 0 and below 1.
        events: How many of them there were.
        of: Among how many.

    Example:
        >>> below(0.01, events=0, of=500) > 20
        True
    """
    parts = [
        (of - events) * (log1p(-part * floor) - log1p(-floor)) + (events * log(part) if events else 0.0)
        for part in _BELOW
        if part or not events
    ]
    return _told(_log_of_sum(parts) - log(len(_BELOW)))


def requests_for(evidence: float, *, ratio: float, than: float, share: float, rate: float) -> float:
    """About how many requests of both releases together it takes until there is so much evidence.

    Args:
        evidence: By how much it has to grow.
        ratio: How many times as often the new release has events.
        than: What it is to be told from: more than so many times as often, or less.
        share: The part of requests that it gets.
        rate: The part of the old one's requests that come to an event.

    Example:
        >>> round(requests_for(1_000.0, ratio=10.0, than=1.0, share=0.05, rate=0.002))
        5639
    """
    if evidence <= 1.0:
        return 0.0
    if not (0.0 < share < 1.0 and rate > 0.0):
        return inf
    now, base = (one * share / (one * share + 1.0 - share) for one in (ratio, than))
    gain = (now * log(now / base) if now else 0.0) + (1.0 - now) * log((1.0 - now) / (1.0 - base))
    events = rate * (1.0 - share + ratio * share)
    return log(evidence) / (gain * events) if gain > 0.0 else inf


def requests_below(evidence: float, *, floor: float, rate: float) -> float:
    """The same of requests of the new release alone, until it has less events than a floor.

    Example:
        >>> round(requests_below(20.0, floor=0.005, rate=0.0))
        598
    """
    if evidence <= 1.0:
        return 0.0
    if rate >= floor:
        return inf
    gain = (rate * log(rate / floor) if rate else 0.0) + (1.0 - rate) * (log1p(-rate) - log1p(-floor))
    return log(evidence) / gain


def _grown(known: Evidence, telling: list[Slice]) -> Evidence:
    counted, none, spread = known.counted, known.none, known.spread
    for one in telling:
        share = one.new / (one.new + one.old)
        counts = one.new_events - one.excused
        events = one.part * (counts + one.old_events)
        spread = tuple([part + events * log1p(less * share) for part, less in zip(spread, _LESS, strict=True)])
        none += events * log1p(-share)
        counted += one.part * counts
    window = known.windows + 1
    gained = [
        (counted - known.counted) * at - (now - before)
        for at, now, before in zip(_LOGS, spread, known.spread, strict=True)
    ]
    return msgspec.structs.replace(
        known,
        windows=window,
        counted=counted,
        spread=spread,
        none=none,
        since=tuple(_staked(known.since, gained, window)),
    )


def _staked(before: tuple[tuple[float, ...], ...], gained: list[float], window: int) -> Iterator[tuple[float, ...]]:
    """What was staked has grown by what was gained, and so has what was staked on this very window."""
    fresh = -log(window * (window + 1))
    rows = before or (((),) * len(BORNE))
    for borne, row in zip(BORNE, rows, strict=True):
        base = _nearest(borne)
        stakes = [_log_of_both(one, fresh) for one in row] if row else [fresh] * len(_WORSE)
        yield tuple(stake + gained[base + step] - gained[base] for stake, step in zip(stakes, _WORSE, strict=True))


def _refuted(likely: list[float], least: float) -> int:
    """How many of them, from the first on, there is so much evidence against, for one of those that come after.

    What is likely has one peak: where one is refuted, so are those before it. Beyond it all may be too small to be told
    from 0, and refute nothing.
    """
    beyond, least = likely[-1], least * len(likely)
    for at in range(len(likely) - 2, -1, -1):
        if beyond > least * likely[at]:
            return at + 1
        beyond += likely[at]
    return 0


def _nearest(ratio: float) -> int:
    """The place of the nearest of `RATIOS`, not beyond what has others on both sides."""
    return min(max(_ONE + round(10.0 * log(ratio) / log(10.0)), -min(_BETTER)), len(RATIOS) - 1)


def _log_of_both(one: float, other: float) -> float:
    high, low = (one, other) if one > other else (other, one)
    return high + log1p(exp(low - high))


def _log_of_sum(logs: Iterable[float]) -> float:
    known = list(logs)
    most = max(known)
    return most + log(sum(exp(one - most) for one in known))


def _told(evidence: float) -> float:
    return exp(min(evidence, _MOST))
