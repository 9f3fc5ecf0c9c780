"""A rollout beside processes that are held up now and then: by their machine, by their garbage, by whoever they ask.

Whoever is held up answers nothing for a while, and then all who have waited at once; both releases' processes are,
alike. Requests come when they come, whether or not those before were answered. The figures are those of the edge,
looked at four times a second.
"""

from __future__ import annotations

import random  # noqa: TID251 - draws from a seed
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from hanse.control.edge_figures import Counts, Key
from hanse.control.edge_window import Buckets, frozen, told
from hanse.control.judged import Tally, judgement_of, looked, window_between
from hanse.control.plan import canary
from hanse.control.verdict import Verdict

LOOK_SECONDS = 0.25
CALM_SECONDS = 30.0
"""How long the old release answers alone before, so that it is known what is slow."""

MEDIAN_SECONDS, SIGMA = 0.005, 0.5
"""How long answers take, and the standard deviation of the logarithm of that."""


@dataclass(frozen=True)
class Stalling:
    """Two releases, and how they are held up.

    Attributes:
        rps: Requests a second, of both.
        share: Of the new release.
        new, old: Instances of each.
        every: Seconds from one stall of an instance to its next, at the least and at the most; 0 for never.
        lasts: How long it is held up, at the least and at the most.
        together: Whether all are held up at once, as their machine is.
        calm: Whether nobody was held up before the rollout, so that little is taken for slow.
        later: By how many seconds the new release answers later: then it is no good one.
        part: Of its requests.
        seconds: Of the rollout.
        waits: Whether the edge tells who waits.
    """

    rps: float = 200.0
    share: float = 0.05
    new: int = 1
    old: int = 3
    every: tuple[float, float] = (10.0, 20.0)
    lasts: tuple[float, float] = (0.3, 1.0)
    together: bool = False
    calm: bool = True
    later: float = 0.0
    part: float = 1.0
    seconds: float = 60.0
    waits: bool = True


@dataclass
class Instance:
    """A process that answers, and is held up now and then."""

    key: Key
    stalls: Iterator[tuple[float, float]]
    later: float
    counts: Counts = field(default_factory=Counts)
    open: list[tuple[float, float]] = field(default_factory=list)
    stall: tuple[float, float] = (0.0, 0.0)

    def asked(self, at: float, seconds: float) -> None:
        """One more request, of so much work; it is answered later where the process is held up."""
        while self.stall[1] <= at:
            self.stall = next(self.stalls)
        begins, ends = self.stall
        answered = at + seconds
        if answered > begins:
            answered = ends + (seconds if at >= begins else answered - begins)
        self.open.append((at, answered))

    def looked(self, now: float) -> None:
        """Count what was answered by now."""
        for at, answered in self.open:
            if answered <= now:
                self.counts.requests += 1
                self.counts.took(answered - at)
        self.open = [one for one in self.open if one[1] > now]

    def waiting(self, now: float) -> Counts:
        """Those who wait."""
        counts = Counts(requests=len(self.open))
        for at, _ in self.open:
            counts.took(now - at)
        return counts


def ends(world: Stalling, seed: int) -> tuple[Verdict, int]:
    """What the judge says at the end, or as it rolls the release back; and how often it was asked until then."""
    chance = random.Random(f"{world}/{seed}")
    crew = _crew(world, chance)
    olds, news = [one for one in crew if one.key.release == "1"], [one for one in crew if one.key.release == "2"]
    limits = _limits(world, olds, chance)
    judged, before, plan = judgement_of("r"), None, canary(1, (100.0 * world.share,), every=1e6)
    for number in count(1):
        at = number * LOOK_SECONDS
        _ask(world, olds, chance, at, world.rps * (1.0 - world.share))
        _ask(world, news, chance, at, world.rps * world.share)
        after = _tally(world, crew, limits, at)
        judged, verdict = looked(judged, window_between(before, after, at), 0, plan, alone=False)
        before = after
        if verdict.decision == "roll_back" or at >= world.seconds:
            return verdict, sum(one.counts.requests + len(one.open) for one in news)
    raise AssertionError


def alarms(world: Stalling, seeds: range) -> list[str]:
    """Why rollouts of good releases are rolled back."""
    verdicts = (ends(world, seed)[0] for seed in seeds)
    return [one.reason for one in verdicts if one.decision == "roll_back"]


def _crew(world: Stalling, chance: random.Random) -> list[Instance]:
    shared = chance.random()
    return [
        Instance(
            Key("web", release, f"web-{release}-{number}", "/"),
            _stalls(world, random.Random(shared if world.together else chance.random())),
            world.later if release == "2" else 0.0,
        )
        for release, instances in (("1", world.old), ("2", world.new))
        for number in range(instances)
    ]


def _stalls(world: Stalling, chance: random.Random) -> Iterator[tuple[float, float]]:
    """From when to when; before the rollout, where seconds are below 0, too."""
    least, most = world.every
    if not most:
        yield 1e9, 1e9
    at = -CALM_SECONDS if not world.calm else 0.0
    at += chance.uniform(0.0, most)
    while True:
        ends = at + chance.uniform(*world.lasts)
        yield at, ends
        at = ends + chance.uniform(least, most)


def _limits(world: Stalling, olds: list[Instance], chance: random.Random) -> dict[str, Buckets]:
    """What is slow, as the old release was before; what it counted until then was before the rollout."""
    for number in range(round(CALM_SECONDS / LOOK_SECONDS), 0, -1):
        _ask(world, olds, chance, (1 - number) * LOOK_SECONDS, world.rps)
    limits = frozen({one.key: one.counts for one in olds}, "web", "1")
    for one in olds:
        one.counts = Counts()
    return limits


def _ask(world: Stalling, among: list[Instance], chance: random.Random, until: float, rps: float) -> None:
    """All that comes of one look."""
    at = until - LOOK_SECONDS
    while (at := at + chance.expovariate(rps)) < until:
        one = chance.choice(among)
        seconds = MEDIAN_SECONDS * chance.lognormvariate(0.0, SIGMA)
        one.asked(at, seconds + (one.later if chance.random() < world.part else 0.0))
    for one in among:
        one.looked(until)


def _tally(world: Stalling, crew: list[Instance], limits: dict[str, Buckets], at: float) -> Tally:
    counted = {one.key: one.counts for one in crew}
    waiting = {one.key: one.waiting(at) for one in crew} if world.waits else {}
    return Tally("", told(counted, "web", new="2", old="1", slow=limits, waiting=waiting))
