"""How a release comes to its place: a strategy, written out as steps that say what runs and who is asked.

A plan is data: nothing of it is worked out later, so that it can be shown before it begins, and a controller that
starts again goes on with the very plan that was begun.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from hanse.contract.model import Model
from hanse.control.edge_table import WHOLE
from hanse.kernel.faults import Misconfigured

STEPS_MAX = 100
"""Most steps that a plan may have."""

PATIENCE = 10.0
"""How many times as long as it has to last a step waits for evidence, before it is held for a person to look at."""

PATIENCE_SECONDS_MIN = 600.0
"""The least of that."""

Strategy = Literal["rolling", "blue-green", "canary", "ab", "mirror"]

Ends = Literal["judged", "unharmed", "asked"]
"""What ends a step: the judge lets it go on; nothing spoke against it for its time; somebody says so."""


class Step(Model):
    """What runs, and who is asked, from one moment of a rollout to the next.

    Attributes:
        share: Requests that go to the new release, in basis points.
        new, old: Instances of each.
        mirrored: Requests that the new release gets a copy of, in basis points.
        seconds: How long it lasts at the least, once all of this is so.
        requests: How many the new release has to have answered within it; of copies, how many were compared.
        patience: Seconds after which it is held, where what ends it has not come; 0 for never.
        ends: What ends it.
    """

    share: int
    new: int
    old: int
    mirrored: int = 0
    seconds: float = 0.0
    requests: int = 0
    patience: float = 0.0
    ends: Ends = "judged"


class Plan(Model):
    """A strategy, written out.

    Attributes:
        strategy: Which.
        steps: One after the other; in the last one the new release has all requests, and the old one is kept warm.
    """

    strategy: Strategy
    steps: tuple[Step, ...]


def rolling(instances: int, *, every: float = 0.0, bake: float = 0.0) -> Plan:
    """One instance after the other; there is always one more than there has to be, never one less.

    Args:
        instances: How many run.
        every: Seconds between one and the next.
        bake: Seconds that the last one is watched for.

    Raises:
        Misconfigured: There are too many instances, or none.

    Example:
        >>> [(step.share, step.new, step.old) for step in rolling(3).steps]
        [(3333, 1, 2), (6667, 2, 1), (10000, 3, 0)]
    """
    _check(instances, every, bake)
    last = instances
    return Plan(
        strategy="rolling",
        steps=tuple(
            Step(
                share=round(WHOLE * done / instances),
                new=done,
                old=instances - done,
                seconds=bake if done == last else every,
                ends="unharmed",
            )
            for done in range(1, instances + 1)
        ),
    )


def blue_green(instances: int, *, bake: float = 0.0) -> Plan:
    """All at once: the new release stands beside the old one, then gets everything; the old one is kept warm.

    Example:
        >>> [(step.share, step.new, step.old) for step in blue_green(3).steps]
        [(10000, 3, 3)]
    """
    _check(instances, 0.0, bake)
    return Plan(strategy="blue-green", steps=(_last(instances, bake),))


def canary(
    instances: int,
    shares: Sequence[float] = (1.0, 5.0, 25.0, 50.0, 100.0),
    *,
    every: float = 30.0,
    requests: int = 500,
    bake: float = 0.0,
    mirrored: float = 0.0,
) -> Plan:
    """A growing share of the requests, each step judged by what the two releases answer in the same seconds.

    Args:
        instances: How many run of the old release; it keeps them all, until it is over.
        shares: Percent of the requests, growing; 100 is put behind them where it is not the last.
        every: Seconds that a step lasts at the least.
        requests: How many the new release has to have answered within a step.
        bake: Seconds that the old release is kept warm, once the new one has all requests.
        mirrored: Seconds that it gets copies of all requests for before that; 0 for none.

    Raises:
        Misconfigured: The shares do not grow from above 0 to 100, or a number is out of range.

    Example:
        >>> [(step.share, step.new, step.old) for step in canary(4, (1, 50)).steps]
        [(100, 1, 4), (5000, 2, 4), (10000, 4, 4)]
    """
    _check(instances, every, bake)
    points = [round(share * 100) for share in shares]
    grown = all(low < high for low, high in zip([0, *points], points, strict=False))
    if not points or not grown or points[-1] > WHOLE:
        raise Misconfigured(
            "steps: expected percents that grow, from above 0 to 100, such as 1,5,25,50,100; "
            f"got {','.join(map(str, shares))}"
        )
    patience = max(PATIENCE * every, PATIENCE_SECONDS_MIN)
    steps = [
        Step(
            share=point,
            new=max(1, math.ceil(instances * point / WHOLE)),
            old=instances,
            seconds=every,
            requests=requests,
            patience=patience,
        )
        for point in points
        if point < WHOLE
    ]
    steps.append(_last(instances, bake))
    if mirrored:
        _check(instances, mirrored, bake)
        steps.insert(0, _copied(steps[0].new, instances, mirrored, requests))
    return Plan(strategy="canary", steps=tuple(steps))


def ab(instances: int, share: float = 50.0, *, bake: float = 0.0) -> Plan:
    """Some of the users have the new release for as long as an experiment lasts; somebody ends it.

    Example:
        >>> ab(4, 25).steps[0].ends
        'asked'
    """
    _check(instances, 0.0, bake)
    point = round(share * 100)
    if not 0 < point < WHOLE:
        raise Misconfigured(f"steps: expected a percent between 0 and 100, got {share:g}")
    held = Step(share=point, new=max(1, math.ceil(instances * point / WHOLE)), old=instances, ends="asked")
    return Plan(strategy="ab", steps=(held, _last(instances, bake)))


def mirror(instances: int, share: float = 100.0, *, seconds: float = 300.0, bake: float = 0.0) -> Plan:
    """The new release gets copies of requests, and nobody sees what it answers; somebody looks, and ends it.

    Example:
        >>> first = mirror(4, 10).steps[0]
        >>> first.share, first.mirrored
        (0, 1000)
    """
    _check(instances, seconds, bake)
    point = round(share * 100)
    if not 0 < point <= WHOLE:
        raise Misconfigured(f"steps: expected a percent from above 0 to 100, got {share:g}")
    copied = Step(
        share=0,
        mirrored=point,
        new=max(1, math.ceil(instances * point / WHOLE)),
        old=instances,
        seconds=seconds,
        ends="asked",
    )
    return Plan(strategy="mirror", steps=(copied, _last(instances, bake)))


def resized(plan: Plan, instances: int) -> Plan:
    """The same plan for another number of instances: shares, times, and what ends a step, stay.

    Args:
        plan: Any.
        instances: How many are to run when nothing is on its way, from 1.

    Example:
        >>> [(step.share, step.new, step.old) for step in resized(rolling(2), 5).steps]
        [(5000, 2, 3), (10000, 5, 0)]
        >>> resized(canary(4, (1, 50)), 10) == canary(10, (1, 50))
        True
    """
    steps = plan.steps
    after = (*steps[1:], steps[-1])
    if plan.strategy == "rolling":
        return replace(plan, steps=tuple(_rolled(step, instances) for step in steps))
    # Copies that come before a canary go to as many as its first step has.
    parts = [
        step.share or (then.share if plan.strategy == "canary" else step.mirrored)
        for step, then in zip(steps, after, strict=True)
    ]
    return replace(
        plan,
        steps=tuple(
            replace(step, new=max(1, math.ceil(instances * part / WHOLE)), old=instances)
            for step, part in zip(steps, parts, strict=True)
        ),
    )


def _rolled(step: Step, instances: int) -> Step:
    new = max(1, round(instances * step.share / WHOLE))
    # Whoever has a share has an instance.
    return replace(step, new=new, old=max(1, instances - new) if step.share < WHOLE else 0)


def _copied(new: int, old: int, seconds: float, requests: int) -> Step:
    """Copies first: it goes on where nothing speaks against it, and enough were compared."""
    patience = max(PATIENCE * seconds, PATIENCE_SECONDS_MIN)
    return Step(
        share=0,
        mirrored=WHOLE,
        new=new,
        old=old,
        seconds=seconds,
        requests=requests,
        patience=patience,
        ends="unharmed",
    )


def _last(instances: int, bake: float) -> Step:
    return Step(share=WHOLE, new=instances, old=instances, seconds=bake, ends="unharmed")


def _check(instances: int, every: float, bake: float) -> None:
    if not 0 < instances <= STEPS_MAX:
        raise Misconfigured(f"instances: expected 1 to {STEPS_MAX} for a release in steps, got {instances}")
    for name, seconds in (("every", every), ("bake", bake)):
        if not 0.0 <= seconds < math.inf:
            raise Misconfigured(f"{name}: expected seconds from 0, got {seconds:g}")
