"""A rollout and its judge: from figures that only grow to windows, and from windows to a verdict that outlives a kill.

The ground tells all that was counted since it began to count. So an answer that is lost costs nothing: the next one
has what it had. What two answers differ by is a window, and is judged once.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from hanse.contract.model import Resource
from hanse.control.alone import Alone
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import WHOLE
from hanse.control.judge import Judging, Terms, heard, judge, judging, stepped
from hanse.control.matched import Matched, without_placebo
from hanse.control.mirror_report import MirrorReport, reported
from hanse.control.plan import Plan
from hanse.control.verdict import Verdict
from hanse.control.window import Both, Condition, Outcomes, Window

DEADLINE_NEVER = 1e9
"""Seconds, for a step that waits as long as it takes."""


class Tally(msgspec.Struct, frozen=True):
    """All that came of two releases since somebody began to count.

    Attributes:
        since: Names that beginning: another one means that all counts began anew.
        routes: By name of a route or a type of messages.
        new, old: How the instances of both are now; what is counted there was counted since then, too.
    """

    since: str = ""
    routes: dict[str, Both] = {}
    new: Condition = Condition()
    old: Condition = Condition()


class Judgement(Resource, collection="hanse_judgements"):
    """What is known of a release beside the old one; its id is that of the rollout.

    Attributes:
        known: All of it.
        alone: What came while the new release was asked everything.
        mirrored: What came of copies of requests.
        matched: What these say of the new release.
        step: The step that it is judged by.
        verdict: What came of it last, in JSON.
    """

    known: Judging
    alone: Alone = Alone()
    mirrored: MirrorReport = MirrorReport()
    matched: Matched = Matched()
    step: int = -1
    verdict: str = ""


def judgement_of(rollout: str) -> Judgement:
    """What is known before anything was counted."""
    return Judgement(id=rollout, known=judging())


def window_between(before: Tally | None, after: Tally, at: float) -> Window:
    """What came between two tallies; nothing, where the counting began anew or nobody looked before.

    Args:
        before: The last one that was looked at.
        after: What is counted now.
        at: Seconds since the rollout began.

    Example:
        >>> first = Tally("a", {"GET /": Both(new={"n1": Outcomes(10)})})
        >>> second = Tally("a", {"GET /": Both(new={"n1": Outcomes(12, failed=1)})})
        >>> window_between(first, second, 1.0).routes["GET /"].new["n1"].asked
        2
        >>> window_between(first, Tally("b", second.routes), 1.0).routes
        {}
    """
    if before is None or before.since != after.since:
        return Window(at, {}, _lately(after.new, after.new), _lately(after.old, after.old))
    routes: dict[str, Both] = {}
    for name, now in after.routes.items():
        was = before.routes.get(name, Both())
        both = Both(_less(now.new, was.new), _less(now.old, was.old))
        if both.new or both.old:
            routes[name] = both
    return Window(at, routes, _lately(after.new, before.new), _lately(after.old, before.old))


def looked(known: Judgement, window: Window, number: int, plan: Plan, *, alone: bool) -> tuple[Judgement, Verdict]:
    """What is known after a window, and what is to be done.

    Args:
        known: What was known before.
        window: What came since.
        number: Of the step that the rollout is at.
        plan: Of the rollout.
        alone: Whether everybody goes by it that the new release has all requests.
    """
    judged = known.known
    if known.step != number:
        judged = stepped(judged, terms_of(plan, number))
    judged, since = heard(judged, window), known.alone.after(window, alone=alone)
    verdict = judge(judged)
    for signal in (*since.signals(), *known.matched.signals()):
        verdict = replace(verdict, decision="roll_back", reason=signal.says, signals=(*verdict.signals, signal))
    told = verdict.to_json().decode()
    return replace(known, known=judged, alone=since, step=number, verdict=told), verdict


def copied(known: Judgement, pairs: Pairs, at: float) -> Judgement:
    """What is known after more copies of requests.

    Args:
        known: What was known before.
        pairs: Both answers to each.
        at: Seconds since the rollout began.
    """
    told = replace(pairs, pairs=without_placebo(pairs.pairs))
    return replace(known, mirrored=reported(known.mirrored, told), matched=known.matched.after(pairs.pairs, at))


def terms_of(plan: Plan, number: int) -> Terms:
    """What it takes to go on from a step: less, the less the next one costs.

    Example:
        >>> from hanse.control.plan import canary
        >>> [terms_of(canary(1, (5, 50)), number).next_share for number in range(3)]
        [0.5, 1.0, 1.0]
    """
    step, after = plan.steps[number], plan.steps[min(number + 1, len(plan.steps) - 1)]
    return Terms(
        next_share=after.share / WHOLE,
        requests_min=step.requests,
        seconds_min=step.seconds,
        deadline_seconds=step.patience or DEADLINE_NEVER,
    )


def _lately(now: Condition, was: Condition) -> Condition:
    """How instances are now, with what was counted since; one that has gone takes along what was counted of it."""
    return replace(
        now,
        contract_broken=max(0, now.contract_broken - was.contract_broken),
        dead_letters=max(0, now.dead_letters - was.dead_letters),
        restarts=max(0, now.restarts - was.restarts),
    )


def _less(now: dict[str, Outcomes], was: dict[str, Outcomes]) -> dict[str, Outcomes]:
    left = {name: _minus(one, was.get(name, Outcomes())) for name, one in now.items()}
    return {name: one for name, one in left.items() if one.asked or one.timed}


def _minus(now: Outcomes, was: Outcomes) -> Outcomes:
    """The difference; whatever somebody counted, no more came of requests than there were."""
    asked, timed = max(0, now.asked - was.asked), max(0, now.timed - was.timed)
    return Outcomes(
        asked,
        min(asked, max(0, now.failed - was.failed)),
        timed,
        min(timed, max(0, now.slow - was.slow)),
        min(timed, max(0, now.slowest - was.slowest)),
    )
