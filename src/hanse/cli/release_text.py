"""Releases as people read them: what is planned, how it stands, and what it went by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from hanse.control.edge_table import WHOLE
from hanse.control.plan import Plan, Step
from hanse.control.release_set import LIVE_SETS
from hanse.control.rollout import ENDED, Rollout
from hanse.deploy.release_words import ReleasesTold, RolloutTold

HEADINGS = ("service", "release", "on its way to", "state", "share", "why")
ENDS = {"judged": "the judge lets it go on", "unharmed": "nothing spoke against it", "asked": "somebody says so"}


def percent(points: int) -> str:
    """Basis points as people write them.

    Example:
        >>> percent(500), percent(3333)
        ('5 %', '33.33 %')
    """
    return f"{points * 100 / WHOLE:g} %"


def plan_lines(plan: Plan) -> Iterator[str]:
    """A plan, a line for each step.

    Example:
        >>> from hanse.control.plan import blue_green
        >>> list(plan_lines(blue_green(2, bake=60.0)))
        ['1. 100 % of the requests; 2 new instances, 2 old ones; 60 s, until nothing spoke against it']
    """
    for number, step in enumerate(plan.steps, 1):
        yield f"{number}. {_step(step)}"


def _step(step: Step) -> str:
    share = f"copies of {percent(step.mirrored)}" if step.mirrored else percent(step.share)
    least = [f"{step.seconds:g} s"] if step.seconds else []
    least += [f"{step.requests} requests of the new one"] if step.requests else []
    lasts = " and ".join(least) + ", " if least else ""
    return f"{share} of the requests; {step.new} new instances, {step.old} old ones; {lasts}until {ENDS[step.ends]}"


def begun_lines(told: ReleasesTold) -> Iterator[str]:
    """What begins: one rollout, or those of a set in their order."""
    members = [(one.service, one.old, one.new, one.plan) for row in told.sets for one in row.members]
    rollouts = [(row.service, row.old, row.new, row.plan) for row in (one.rollout for one in told.rollouts)]
    for service, old, new, plan in members or rollouts:
        yield f"{service}: {old} -> {new}"
        yield from plan_lines(plan)


def set_lines(told: ReleasesTold) -> Iterator[str]:
    """The release sets, a line for each."""
    for row in told.sets:
        names = ", ".join(member.service for member in row.members)
        yield f"as one: {names}: {row.state.replace('_', ' ')}{f', {row.why}' if row.why else ''}"


def is_over(told: ReleasesTold) -> bool:
    """Whether what was asked about is over: a release set, else a rollout."""
    if told.sets:
        return told.sets[0].state not in LIVE_SETS
    return told.rollouts[0].rollout.state in ENDED


def problem_of(told: ReleasesTold) -> str:
    """Why what is over did not come to its place; empty where it did."""
    if told.sets:
        return "" if told.sets[0].state == "done" else next(set_lines(told))
    row = told.rollouts[0].rollout
    return "" if row.state == "done" else f"{row.service} {row.new} is {row.state.replace('_', ' ')}: {row.why}"


def rows_of(told: ReleasesTold) -> list[list[str]]:
    """A row for each service that was ever released."""
    found = [_row(one.rollout, told.releases.get(one.rollout.service, "")) for one in told.rollouts]
    return sorted(found)


def _row(row: Rollout, release: str) -> list[str]:
    over = row.state in ENDED
    where = f", step {row.step + 1} of {len(row.plan.steps)}" if row.state in ("stepping", "held") else ""
    state = row.state.replace("_", " ") + where
    return [row.service, release or row.old, "" if over else row.new, state, percent(row.share), row.why]


def lines_of(one: RolloutTold) -> Iterator[str]:
    """A rollout with all that it came to."""
    row = one.rollout
    yield f"{row.service}: {row.old} -> {row.new}, {row.plan.strategy}, asked for by {row.who or 'nobody named'}"
    yield from (f"  {line}" for line in plan_lines(row.plan))
    for turn in row.history:
        at = datetime.fromtimestamp(turn.at, UTC).strftime("%H:%M:%S")
        who = f" ({turn.who})" if turn.who else ""
        yield f"  {at} {turn.state.replace('_', ' ')}, step {turn.step + 1}, {percent(turn.share)}: {turn.why}{who}"
    if one.mirrored.pairs:
        yield from (f"  copies: {line}" for line in one.mirrored.lines())
    if one.verdict is not None:
        yield from (f"  {line}" for line in one.verdict.text().splitlines())
