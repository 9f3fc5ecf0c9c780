"""Traffic that is drawn from a seed: what two releases answer, window by window, whatever share each is given."""

from __future__ import annotations

import math
import random  # noqa: TID251 - draws from a seed
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist

from hanse.control.stories import Stories, Told
from hanse.control.window import Both, Outcomes

SIGMA = 0.5
"""How much latencies vary: the standard deviation of their logarithm."""

MEDIAN_MS = 100.0
"""What half of the old release's answers take no longer than."""

USERS_SEED = 7
SALT = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Scenario:
    """A release, and the traffic that it gets.

    Attributes:
        name: What it is.
        good: Whether it is as good as the old one: to roll it back is a false alarm.
        rps: Requests a second, of both releases.
        base: The part of them that fails by the old one.
        new: The part that fails by the new one.
        outage: From which second to which both fail more, and what part does.
        bursts: How much rates of both vary, each by itself, every 5 seconds; the variance of the factor.
        slower: How many times as long the new one takes; 0 where nobody looks at that.
        uneven: How much instances differ: the standard deviation of the logarithm of their rates.
        broken: Users of 2,000 for whom everything fails, whichever release answers; rates are not looked at then.
        stories: Whether each user counts once.
        routes: Routes; where there are several, the new release's failures are all on the last, which gets 1 %.
        turns: The second from which on the new one is as it is; before, it is as the old one.
        instances: Of the new one; the old one has twice as many.
        tick: How many seconds a window has.
    """

    name: str
    good: bool
    rps: float = 50.0
    base: float = 0.002
    new: float = 0.002
    outage: tuple[int, int, float] = (0, 0, 0.0)
    bursts: float = 0.0
    slower: float = 0.0
    uneven: float = 0.0
    broken: int = 0
    stories: bool = True
    routes: int = 1
    turns: int = 0
    instances: int = 1
    tick: float = 1.0


@dataclass
class Drawn:
    """What came of one window: by route, and in all.

    Attributes:
        routes: By route, release and instance.
        hit: Requests that the new release failed.
        mean_ms: What answers took on average, of the new and of the old release.
    """

    routes: dict[str, Both] = field(default_factory=dict)
    hit: int = 0
    mean_ms: tuple[float, float] = (0.0, 0.0)


class Traffic:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.chance = random.Random(f"{scenario.name}/{seed}")
        self.stories = Stories()
        draw = self.chance.gauss
        self.new = [math.exp(draw(0.0, scenario.uneven)) for _ in range(scenario.instances)]
        self.old = [math.exp(draw(0.0, scenario.uneven)) for _ in range(2 * scenario.instances)]
        self.burst = (1.0, 1.0)
        users = random.Random(USERS_SEED)
        self.weights = [math.exp(users.gauss(0.0, 1.0)) for _ in range(2_000)] if scenario.broken else []
        self.sides = [self.chance.random() for _ in self.weights]
        self.unlucky = set(self.chance.sample(range(2_000), scenario.broken))

    def next(self, at: float, share: float) -> Drawn:
        """What comes of one, where the new release has such a share."""
        if self.scenario.broken:
            return self._of_users(at, share)
        if at % 5.0 == 0.0 and self.scenario.bursts:
            shape = 1.0 / self.scenario.bursts
            self.burst = tuple(self.chance.gammavariate(shape, 1.0 / shape) for _ in range(2))  # type: ignore[assignment]
        found = Drawn()
        for number in range(self.scenario.routes):
            part = 1.0 if self.scenario.routes == 1 else 0.01 if number == 0 else 0.99 / (self.scenario.routes - 1)
            both = self._route(at, share, part, bad=number == 0)
            found.routes[f"/{number}"] = both
            found.hit += sum(one.failed for one in both.new.values())
        found.mean_ms = self._means(found)
        return found

    def _route(self, at: float, share: float, part: float, *, bad: bool) -> Both:
        one = self.scenario
        asked = poisson(one.rps * one.tick * part, self.chance)
        new = binomial(asked, share, self.chance)
        base, worse = one.base, one.new if bad and at >= one.turns else one.base
        if one.outage[0] <= at < one.outage[1]:
            base, worse = max(base, one.outage[2]), max(worse, one.outage[2])
        slower = max(one.slower, 1.0) if at >= one.turns else 1.0
        return Both(
            new=self._instances("b", new, worse * self.burst[0], self.new, slower),
            old=self._instances("a", asked - new, base * self.burst[1], self.old, 1.0),
        )

    def _instances(
        self, name: str, asked: int, rate: float, factors: list[float], slower: float
    ) -> dict[str, Outcomes]:
        found: dict[str, Outcomes] = {}
        for left in range(len(factors), 0, -1):
            of = binomial(asked, 1.0 / left, self.chance)
            asked -= of
            factor = factors[left - 1]
            failed = binomial(of, min(1.0, rate * factor), self.chance)
            timed = of if self.scenario.slower else 0
            slow_rate = min(1.0, slow_share(0.95, slower) * factor)
            slow = binomial(timed, slow_rate, self.chance)
            slowest = binomial(slow, slow_share(0.99, slower) / slow_share(0.95, slower), self.chance)
            found[f"{name}{left}"] = Outcomes(of, failed, timed, slow, slowest)
        return found

    def _of_users(self, at: float, share: float) -> Drawn:
        found = Drawn()
        users = range(len(self.weights))
        told: dict[str, Outcomes] = {}
        for who in self.chance.choices(
            users, self.weights, k=poisson(self.scenario.rps * self.scenario.tick, self.chance)
        ):
            is_new, failed = self.sides[who] < share, who in self.unlucky
            found.hit += is_new and failed
            name = "b1" if is_new else "a1"
            told[name] = told.get(name, Outcomes()) + Outcomes(1, int(failed))
            if self.scenario.stories:
                self.stories.add(Told("/0", name, is_new, str(who), failed, 0.1), at)
        raw = Both(
            new={name: one for name, one in told.items() if name == "b1"},
            old={name: one for name, one in told.items() if name == "a1"},
        )
        found.routes = self.stories.cut(at).routes if self.scenario.stories else {"/0": raw}
        return found

    def _means(self, second: Drawn) -> tuple[float, float]:
        """What answers take on average: normal, by the central limit theorem."""
        if not self.scenario.slower:
            return 0.0, 0.0
        found: list[float] = []
        for is_new, slower in ((True, max(self.scenario.slower, 1.0)), (False, 1.0)):
            asked = sum(
                one.asked for both in second.routes.values() for one in (both.new if is_new else both.old).values()
            )
            mean = MEDIAN_MS * slower * math.exp(SIGMA**2 / 2.0)
            spread = mean * math.sqrt(math.exp(SIGMA**2) - 1.0)
            found.append(self.chance.gauss(mean, spread / math.sqrt(asked)) if asked else mean)
        return found[0], found[1]


@lru_cache
def slow_share(quantile: float, slower: float) -> float:
    """The part of answers beyond a quantile of before, where all take so many times as long."""
    normal = NormalDist()
    return 1.0 - normal.cdf(normal.inv_cdf(quantile) - math.log(slower) / SIGMA)


def poisson(rate: float, chance: random.Random) -> int:
    """How many come, of very many who come by chance."""
    return bisect_left(_poisson_table(rate), chance.random())


def binomial(of: int, rate: float, chance: random.Random) -> int:
    """How many of so many it happens to."""
    if not of or rate <= 0.0:
        return 0
    if rate >= 1.0:
        return of
    if of * rate < 0.05:  # most often nothing happens, and a table costs more than this
        left = (1.0 - rate) ** of
        if chance.random() < left:
            return 0
        while not (found := sum(chance.random() < rate for _ in range(of))):
            pass
        return found
    return min(of, bisect_left(_binomial_table(of, round(rate, 6)), chance.random()))


@lru_cache(maxsize=1_000)
def _poisson_table(rate: float) -> list[float]:
    found, term, total = [], math.exp(-rate), 0.0
    for number in range(int(rate + 12.0 * math.sqrt(rate) + 20.0)):
        total += term
        found.append(total)
        term *= rate / (number + 1)
    return found


@lru_cache(maxsize=50_000)
def _binomial_table(of: int, rate: float) -> list[float]:
    logs = [
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * math.log(rate)
        + (of - k) * math.log1p(-rate)
        for k in range(of + 1)
    ]
    found, total = [], 0.0
    for one in logs:
        total += math.exp(one)
        found.append(total)
    return found
