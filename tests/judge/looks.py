"""A rollout as the platform looks at it: four times a second, at figures that only grow, of people who wait their turn.

Whoever has asked waits for the answer before they ask again. So when one release has nothing to say for a moment, those
who wait for it ask nobody, and all that is answered meanwhile is the other one's. That is no accident of one in a
thousand windows: it is what a stall looks like, and the judge has to know it.
"""

from __future__ import annotations

import random  # noqa: TID251 - draws from a seed
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from hanse.control.edge_figures import Counts
from hanse.control.edge_people import People
from hanse.control.judged import Tally, judgement_of, looked, window_between
from hanse.control.plan import canary
from hanse.control.verdict import Verdict
from hanse.control.window import Both, Outcomes

LOOK_SECONDS = 0.25
STEP_SECONDS = 0.05
"""How finely time is cut: within it everybody who waits for nobody asks once."""

ROUTE = "/"


@dataclass(frozen=True)
class Crowd:
    """Who asks, and how the releases, which are the same, answer.

    Attributes:
        strangers: People of whom nobody knows who they are: at each request they go to either release.
        known: People who stick to one, and for whom all goes well.
        broken: People who stick to one, and for whom everything fails.
        share: Of the new release.
        stalls: How often each release stalls, a second, on average.
        stall_seconds: For how long, on average.
        outage: From which second to which each request fails with which chance, at either.
        seconds: Of the rollout.
        by_requests: Whether each request counts, as where the edge does not look who asks.
    """

    strangers: int = 8
    known: int = 0
    broken: int = 0
    share: float = 0.5
    stalls: float = 0.0
    stall_seconds: float = 0.3
    outage: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seconds: float = 60.0
    by_requests: bool = False


def ends(crowd: Crowd, seed: int) -> Verdict:
    """What the judge says at the end, or as it rolls the release back."""
    chance = random.Random(f"{crowd}/{seed}")
    counts, people = {True: Counts(), False: Counts()}, People()
    names = [f"known-{number}" for number in range(crowd.known)] + [f"broken-{n}" for n in range(crowd.broken)]
    sides = {name: chance.random() < crowd.share for name in names}
    strangers: list[bool | None] = [None] * crowd.strangers
    stalled = {True: 0.0, False: 0.0}
    judged, before, plan = judgement_of("r"), None, canary(1, (100.0 * crowd.share,), every=1e6)
    for number in count(1):
        at = number * STEP_SECONDS
        for side in stalled:
            if chance.random() < crowd.stalls * STEP_SECONDS:
                stalled[side] = at + chance.expovariate(1.0 / crowd.stall_seconds)
        up = {side for side, until in stalled.items() if at >= until}
        for place, waits in enumerate(strangers):
            side = chance.random() < crowd.share if waits is None else waits
            strangers[place] = None if side in up else side
            if side in up:
                _asked(crowd, counts[side], people, "", at, _failed(crowd, at, chance))
        for name, side in sides.items():
            if side in up and at > 1.0:
                failed = name.startswith("broken") or _failed(crowd, at, chance)
                _asked(crowd, counts[side], people, name, at, failed)
        if number % round(LOOK_SECONDS / STEP_SECONDS):
            continue
        after = Tally("", {ROUTE: Both(new={"n": _told(counts[True])}, old={"o": _told(counts[False])})})
        judged, verdict = looked(judged, window_between(before, after, at), 0, plan, alone=False)
        before = after
        if verdict.decision == "roll_back" or at >= crowd.seconds:
            return verdict
    raise AssertionError


def alarms(crowd: Crowd, runs: int, blames: Callable[[str], bool] = bool) -> int:
    """How many of so many rollouts are rolled back, though both releases are the same."""
    verdicts = (ends(crowd, seed) for seed in range(runs))
    return sum(one.decision == "roll_back" and blames(one.reason) for one in verdicts)


def _asked(crowd: Crowd, counts: Counts, people: People, who: str, at: float, failed: bool) -> None:
    counts.requests += 1
    counts.errors += failed
    if not crowd.by_requests:
        people.count(counts, (str(id(counts)), ROUTE), "r", who, at, failed=failed)


def _failed(crowd: Crowd, at: float, chance: random.Random) -> bool:
    begins, over, part = crowd.outage
    return begins <= at < over and chance.random() < part


def _told(counts: Counts) -> Outcomes:
    asked, failed = (counts.people, counts.people_failed) if counts.whose else (counts.requests, counts.errors)
    return Outcomes(asked, failed)
