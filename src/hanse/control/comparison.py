"""One metric of two releases, compared over all routes together and on each by itself.

A release that is a little worse everywhere shows in all routes together, and in none of them alone. One that breaks a
single route of a hundred shows there alone: among all it is lost. So half of the stake is on all together, and the
other half in equal parts on the routes. Both are evidence that may be looked at at any time, and so is their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log, log1p

import msgspec

from hanse.control.evidence import BORNE, EVIDENCE_MAX, Evidence, Slice

ROUTES_MAX = 128
"""Routes that a part of the stake is on, each; the first that have an event, of either release. Those that come later
count among all together."""

POINTS_MAX = 64
"""Points of a curve; where there are more, every other one is left out, and from then on half as many are kept."""

# What a route that is broken may look like; each that is well beyond what is borne is as likely.
_BROKEN = (10.0**0.5, 10.0, 10.0**1.5, 100.0, 10.0**2.5, 1_000.0)
_BEYOND = 2.0
_LOOKED_AT = (*BORNE, *_BROKEN)
_MOST = log(EVIDENCE_MAX)


class Spot(msgspec.Struct, frozen=True):
    """How often two releases have an event on one route.

    Attributes:
        counted: Events of the new release, as they count.
        spread: What of the likelihood of each ratio that is looked at their number does not tell.

    Example:
        >>> Spot().after(Slice(new=5, old=95, new_events=4)).worse() > 1_000
        True
    """

    counted: float = 0.0
    spread: tuple[float, ...] = (0.0,) * len(_LOOKED_AT)

    def after(self, one: Slice) -> Spot:
        """What is known after one more slice, in which both were asked."""
        share = one.new / (one.new + one.old)
        counts = one.new_events - one.excused
        events = one.part * (counts + one.old_events)
        spread = [
            known + events * log1p((ratio - 1.0) * share) for known, ratio in zip(self.spread, _LOOKED_AT, strict=True)
        ]
        return Spot(self.counted + one.part * counts, tuple(spread))

    def worse(self, borne: float = 1.0) -> float:
        """The evidence that the new release is worse here than is borne; 1 for none."""
        base = self.spread[BORNE.index(borne)]
        gains = [
            self.counted * log(ratio / borne) - self.spread[at] + base
            for at, ratio in enumerate(_BROKEN, len(BORNE))
            if ratio > _BEYOND * borne
        ]
        return sum(exp(min(gain, _MOST)) for gain in gains) / len(gains)


class Comparison(msgspec.Struct, frozen=True):
    """How often two releases have an event, all in all and by route.

    Attributes:
        all: All routes together.
        spots: Routes by themselves.

    Example:
        >>> comparison = Comparison()
        >>> for _ in range(30):
        ...     good = {f"/{number}": Slice(5, 95, 0, number % 2) for number in range(50)}
        ...     comparison = comparison.after({**good, "/broken": Slice(1, 19, 1, 0)})
        >>> comparison.worse() > 1_000, comparison.worst()
        (True, '/broken')
    """

    all: Evidence = Evidence()
    spots: dict[str, Spot] = {}

    def after(self, slices: Mapping[str, Slice]) -> Comparison:
        """What is known after one more window, of a slice for each route."""
        spots = self.spots
        for route, one in slices.items():
            if not (one.new and one.old and one.part and one.new_events + one.old_events):
                continue
            if route in spots or len(spots) < ROUTES_MAX:
                spots = {**spots, route: spots.get(route, Spot()).after(one)}
        return Comparison(self.all.after(slices.values()), spots)

    def worse(self, borne: float = 1.0) -> float:
        """The evidence that the new release is worse than is borne, somewhere or everywhere; 1 for none."""
        alone = sum(spot.worse(borne) for spot in self.spots.values()) + ROUTES_MAX - len(self.spots)
        return min((self.all.worse(borne) + alone / ROUTES_MAX) / 2.0, EVIDENCE_MAX)

    def worst(self, borne: float = 1.0) -> str:
        """The route that says more against the new release by itself than all do together; empty for none."""
        found = max(self.spots, key=lambda route: self.spots[route].worse(borne), default="")
        return found if found and self.spots[found].worse(borne) / ROUTES_MAX > self.all.worse(borne) else ""


class Curve(msgspec.Struct, frozen=True):
    """Evidence over time, of a bounded number of points.

    Attributes:
        points: Seconds since the rollout began, and the decimal logarithm of the evidence.
        every: How many seconds are between two of them at least.

    Example:
        >>> curve = Curve()
        >>> for second in range(10_000):
        ...     curve = curve.after(float(second), 1.0)
        >>> len(curve.points) <= POINTS_MAX, curve.points[-1][0]
        (True, 9984.0)
    """

    points: tuple[tuple[float, float], ...] = ()
    every: float = 1.0

    def after(self, at: float, evidence: float) -> Curve:
        """With one more point, where the last one is old enough."""
        if self.points and at - self.points[-1][0] < self.every:
            return self
        points = (*self.points, (at, round(log(max(evidence, 1e-12)) / log(10.0), 3)))
        if len(points) <= POINTS_MAX:
            return Curve(points, self.every)
        return Curve(points[::2], self.every * 2.0)
