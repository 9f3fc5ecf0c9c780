"""How releases are judged: by us, and by the published rules of others, written down from their documents.

- Flagger: <https://docs.flagger.app/usage/how-it-works>: once a minute, success rate of the new release at least 99 %,
  and its latency (99th percentile) at most 500 ms; steps of 10 % up to 50 %; rolled back at the 5th that was not so.
- Argo Rollouts: <https://argo-rollouts.readthedocs.io/en/stable/features/analysis/>: success rate at least 95 %, asked
  once a minute; rolled back when more than 3 of these failed (`failureLimit: 3`); our steps.
- Kayenta: `MannWhitneyClassifier` and `NetflixACAJudge`: 30 minutes at 10 % each, a point a minute, Mann-Whitney with a
  confidence of 98 % for the shift, which has to be beyond a quarter of its estimate; judged once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist, fmean, median

from msgspec.structs import replace

from hanse.control.judge import Terms, heard, judge, judging, stepped
from hanse.control.window import Window

from .traffic import MEDIAN_MS, SIGMA, Scenario, Traffic

STEPS = (0.05, 0.1, 0.25, 0.5)
TERMS = Terms()

FLAGGER_STEPS = (0.1, 0.2, 0.3, 0.4, 0.5)
FLAGGER_RATE_MIN, FLAGGER_MS_MAX, FLAGGER_FAILED_MAX = 0.99, 500.0, 5
ARGO_RATE_MIN, ARGO_FAILED_MAX, ARGO_STEP_MINUTES = 0.95, 3, 2
MINUTE = 60
KAYENTA_MINUTES, KAYENTA_CONFIDENCE, KAYENTA_TOLERANCE = 30, 0.98, 0.25


@dataclass(frozen=True)
class Ended:
    """How a rollout ended: `go_on`, `roll_back` or `hold`; when; and how many requests the new release had failed."""

    decision: str
    seconds: float
    hit: int


def ours(scenario: Scenario, seed: int) -> Ended:
    """Windows as they come, of a second or less."""
    terms = [replace(TERMS, next_share=share) for share in (*STEPS[1:], 1.0)]
    traffic, known, step, hit, at = Traffic(scenario, seed), judging(terms[0]), 0, 0, 0.0
    while True:
        told = traffic.next(at, STEPS[step])
        hit += told.hit
        at += scenario.tick
        known = heard(known, Window(at, told.routes))
        decision = judge(known).decision
        if decision in {"roll_back", "hold"} or (decision == "go_on" and step == len(STEPS) - 1):
            return Ended(decision, at, hit)
        if decision == "go_on":
            step, known = step + 1, stepped(known, terms[step + 1])


def flagger(scenario: Scenario, seed: int) -> Ended:
    """A point against a threshold, once a minute."""
    minutes, failed, step, hit = Minutes(scenario, seed), 0, 0, 0
    while True:
        one = minutes.next(FLAGGER_STEPS[step])
        hit += one.hit
        well = one.asked > 0 and one.rate >= FLAGGER_RATE_MIN and one.slowest_ms <= FLAGGER_MS_MAX
        failed += not well
        if failed >= FLAGGER_FAILED_MAX:
            return Ended("roll_back", minutes.seconds, hit)
        if well and step == len(FLAGGER_STEPS) - 1:
            return Ended("go_on", minutes.seconds, hit)
        step += well


def argo(scenario: Scenario, seed: int) -> Ended:
    """A point against a threshold, beside steps that go on by themselves."""
    minutes, failed, hit = Minutes(scenario, seed), 0, 0
    for share in STEPS:
        for _ in range(ARGO_STEP_MINUTES):
            one = minutes.next(share)
            hit += one.hit
            failed += one.asked > 0 and one.rate < ARGO_RATE_MIN
            if failed > ARGO_FAILED_MAX:
                return Ended("roll_back", minutes.seconds, hit)
    return Ended("go_on", minutes.seconds, hit)


def kayenta(scenario: Scenario, seed: int) -> Ended:
    """Mann-Whitney over a fixed time."""
    minutes = Minutes(scenario, seed)
    points = [minutes.next(0.1) for _ in range(KAYENTA_MINUTES)]
    hit = sum(one.hit for one in points)
    rates = [1.0 - one.rate for one in points if one.asked], [1.0 - one.old_rate for one in points if one.old_asked]
    times = [one.mean_ms[0] for one in points], [one.mean_ms[1] for one in points]
    bad = higher(*rates) or (scenario.slower > 0.0 and higher(*times))
    return Ended("roll_back" if bad else "go_on", minutes.seconds, hit)


RULES = {"ours": ours, "Flagger's": flagger, "Argo's": argo, "Kayenta's": kayenta}


@dataclass(frozen=True)
class Minute:
    """What others look at: a minute of both releases."""

    asked: int
    failed: int
    old_asked: int
    old_failed: int
    hit: int
    slowest_ms: float
    mean_ms: tuple[float, float]

    @property
    def rate(self) -> float:
        """The part of the new release's requests that went well."""
        return 1.0 - self.failed / self.asked if self.asked else 0.0

    @property
    def old_rate(self) -> float:
        """The part of the old release's requests that went well."""
        return 1.0 - self.old_failed / self.old_asked if self.old_asked else 0.0


class Minutes:
    """Traffic, a minute at a time."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.traffic = Traffic(scenario, seed)
        self.seconds = 0

    def next(self, share: float) -> Minute:
        """The next minute, where the new release has such a share."""
        scenario = self.traffic.scenario
        ticks = range(round(MINUTE / scenario.tick))
        seconds = [self.traffic.next(self.seconds + one * scenario.tick, share) for one in ticks]
        slower = scenario.slower if scenario.slower and self.seconds >= scenario.turns else 1.0
        self.seconds += MINUTE
        both = [both for one in seconds for both in one.routes.values()]
        new = [outcomes for one in both for outcomes in one.new.values()]
        old = [outcomes for one in both for outcomes in one.old.values()]
        return Minute(
            asked=sum(one.asked for one in new),
            failed=sum(one.failed for one in new),
            old_asked=sum(one.asked for one in old),
            old_failed=sum(one.failed for one in old),
            hit=sum(one.hit for one in seconds),
            slowest_ms=MEDIAN_MS * slower * math.exp(SIGMA * NormalDist().inv_cdf(0.99)),
            mean_ms=(fmean(one.mean_ms[0] for one in seconds), fmean(one.mean_ms[1] for one in seconds)),
        )


def higher(new: list[float], old: list[float]) -> bool:
    """Whether Kayenta calls a metric "High": its shift is above a quarter of its estimate, with the confidence."""
    if not new or not old or new == old or len({*new, *old}) == 1:
        return False
    shifts = sorted(one - other for one, other in product(new, old))
    z = NormalDist().inv_cdf(1.0 - (1.0 - KAYENTA_CONFIDENCE) / 2.0)
    sizes = len(new) * len(old)
    below = max(0, int(sizes / 2.0 - z * math.sqrt(sizes * (len(new) + len(old) + 1) / 12.0)))
    return shifts[below] > KAYENTA_TOLERANCE * abs(median(shifts))


def endings(scenario: Scenario, rule: str, runs: int) -> Iterator[Ended]:
    """How so many rollouts of a scenario end."""
    return (RULES[rule](scenario, seed) for seed in range(runs))
