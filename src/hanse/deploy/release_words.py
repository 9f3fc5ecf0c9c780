"""What commands ask about releases, and what they get."""

from __future__ import annotations

import msgspec

from hanse.control.edge_table import Points
from hanse.control.mirror_report import MirrorReport
from hanse.control.plan import Plan, Strategy, ab, blue_green, canary, mirror, rolling
from hanse.control.release_set import ReleaseSet
from hanse.control.rollout import Command, Rollout, Veto
from hanse.control.verdict import Verdict
from hanse.kernel.faults import Misconfigured

STEPS = (1.0, 5.0, 25.0, 50.0, 100.0)
"""Percents of a canary, where nobody says others."""

EVERY_SECONDS = 30.0
"""That a step lasts at the least, where nobody says otherwise."""

BAKE_SECONDS = 60.0
"""That the old release is kept warm, where nobody says otherwise."""

REQUESTS = 500
"""That a new release has to have answered within a step, where nobody says otherwise."""


class ReleaseAsk(msgspec.Struct, frozen=True, kw_only=True):
    """A release that somebody wants.

    Attributes:
        service: Its name.
        to: A folder, a revision of git, or a name that the service's command takes.
        also: Other services that are released with it as one release set, each with its release.
        strategy: How it comes to its place.
        steps: Percents: of a canary, of the users of an `ab`, of the requests that are mirrored.
        every: Seconds that a step lasts at the least.
        requests: How many the new release has to have answered within a step of a canary.
        bake: Seconds that the old release is kept warm.
        mirror_first: Seconds that a canary gets copies of requests for, before anybody is sent to it; 0 for none.
        breaking: Whether it goes on though it may not fit those who run beside it.
        who: Who asks for it.
    """

    service: str
    to: str
    also: tuple[tuple[str, str], ...] = ()
    strategy: Strategy = "canary"
    steps: tuple[float, ...] = ()
    every: float = EVERY_SECONDS
    requests: int = REQUESTS
    bake: float = BAKE_SECONDS
    mirror_first: float = 0.0
    breaking: bool = False
    who: str = ""


class RolloutAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Something to know about rollouts, or to do about one.

    Attributes:
        service: Whose; empty for all.
        release_set: Id of the release set whose; empty for any.
        command: What to do; None to be told how it stands.
        share: What the new release is to have of the requests, in basis points; None for what its plan says.
        lift: Release whose vetoes are lifted; empty for none.
        who: Who asks for it.
    """

    service: str = ""
    release_set: str = ""
    command: Command | None = None
    share: Points | None = None
    lift: str = ""
    who: str = ""


class RolloutTold(msgspec.Struct, frozen=True, kw_only=True):
    """How a rollout stands.

    Attributes:
        rollout: Its row.
        verdict: What the judge said last; None where it was not asked yet.
        mirrored: What came of copies of requests.
    """

    rollout: Rollout
    verdict: Verdict | None = None
    mirrored: MirrorReport = MirrorReport()


class ReleasesTold(msgspec.Struct, frozen=True, kw_only=True):
    """What a command gets.

    Attributes:
        rollouts: The latest of each service.
        sets: Release sets: the one that was asked for, or all that are on their way.
        releases: Which release each service has that was ever released.
        vetoes: What is not released again until somebody lifts that.
    """

    rollouts: tuple[RolloutTold, ...] = ()
    sets: tuple[ReleaseSet, ...] = ()
    releases: dict[str, str] = {}
    vetoes: tuple[Veto, ...] = ()


def plan_of(ask: ReleaseAsk, instances: int) -> Plan:
    """What is asked for, written out.

    Args:
        ask: What somebody wants.
        instances: How many of the service run.

    Raises:
        Misconfigured: It makes no plan.

    Example:
        >>> [step.share for step in plan_of(ReleaseAsk(service="web", to="2", steps=(10, 100)), 2).steps]
        [1000, 10000]
    """
    if ask.mirror_first and ask.strategy != "canary":
        raise Misconfigured(f"mirror_first: expected the strategy canary, got {ask.strategy}")
    match ask.strategy:
        case "canary":
            return canary(
                instances,
                ask.steps or STEPS,
                every=ask.every,
                requests=ask.requests,
                bake=ask.bake,
                mirrored=ask.mirror_first,
            )
        case "rolling":
            return rolling(instances, every=ask.every, bake=ask.bake)
        case "blue-green":
            return blue_green(instances, bake=ask.bake)
        case "ab":
            return ab(instances, _one(ask, 50.0), bake=ask.bake)
        case "mirror":
            return mirror(instances, _one(ask, 100.0), seconds=ask.every, bake=ask.bake)


def _one(ask: ReleaseAsk, usual: float) -> float:
    if len(ask.steps) > 1:
        told = ",".join(f"{step:g}" for step in ask.steps)
        raise Misconfigured(f"steps: expected one percent for {ask.strategy}, such as {usual:g}, got {told}")
    return ask.steps[0] if ask.steps else usual
