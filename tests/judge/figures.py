"""What judges come to on all scenarios, as a file, and the page that is written from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

import msgspec

from .leaks import GROWING, Grown
from .rules import RULES, TERMS, Ended, endings
from .scenarios import BAD, GOOD, SCENARIOS
from .traffic import Scenario

FILE = Path(__file__).parent / "results.json"
FIRST = 3
"""Rollouts of each that are kept one by one, so that a test can make them again."""

INTRODUCTION = """<!-- Written by `make judge` from what it did; change tests/judge. -->

# The judge in figures

[How a release is judged](../learn/judging.md), tried on rollouts that are drawn from seeds: {runs} of each kind, each \
with the judge of Hanse and with the rules that others publish, on the same traffic.
50 requests a second unless it says otherwise; our steps are 5, 10, 25 and 50 %, of 2 minutes and 500 requests at \
least, and 15 minutes at most.
`make judge` does it again.

- **Flagger**: a point against a threshold, once a minute: 99 % go well and 99 % take at most 500 ms; rolled back at \
the 5th minute that is not so.
- **Argo Rollouts**: the same at 95 %, more than 3 times.
- **Kayenta**: Mann-Whitney over 30 minutes at 10 %, judged once.

They are written from their documents, not run; thresholds are those of their examples, which people change.
"""
GOOD_HEAD = """
## Good releases: who rolls them back

To roll back is a false alarm; to hold is to ask somebody.

| a release that is | {rules} | ours holds | ours lets it through after |
|---|{lines}---:|---:|
"""
BAD_HEAD = """
## Bad releases: who notices, when, and after how many failed requests

Rolled back, after so many seconds, with so many requests that the new release had failed by then (medians).

| a release of which | {rules} |
|---|{lines}
"""
MEMORY = """
## Memory that grows

What an instance takes is drawn with a noise of 1 %, looked at twice a second; nobody says how much it may take, and \
the old release takes what it takes. {runs} rollouts of each.

| a new release that | is rolled back | after | at the latest |
|---|---:|---:|---:|
"""
CLOSING = """
## What these figures do not say

- The traffic is drawn, and kinder than any real one: requests come by chance, instances differ by a factor that stays.
- Of good releases with independent requests, ours may roll back one in {alpha:,.0f}: it was {alarms} of {of:,} here. \
Bursts and instances that differ break what that rests on; the rows that have them show how much is left. \
The bursts here befall one release at a time, by chance, which is the worst that they can do.
- Somebody for whom everything fails is one person: where each of their requests counts, the judge is wrong more often \
than it says. So [people are counted](../learn/judging.md#what-is-counted), where it is known who asks.
- A cache that the old release does not have, that fills evenly and makes the new one as large within seconds as a \
leak would, is taken for a leak; `memory_max` says that it is none, as then it has to use that up.
- Nobody is held up here. Releases whose processes are, for up to a second, are tried by `tests/judge/test_stalls.py`, \
and hardly ever rolled back for it. The price is that what is a little slower is noticed later: until much is late for \
seconds, it may be that.
- A new release of one instance cannot be told from the machine that it runs on; with two it can.
"""


class Told(msgspec.Struct, frozen=True):
    """What one rule came to on one scenario.

    Attributes:
        scenario, rule: Which.
        runs: How many rollouts there were.
        rolled_back, held: How many of them ended so.
        seconds, hit: Medians of those that were rolled back: when, and how many requests the new release had failed.
        hit_most: What nine of ten of these had at most.
        through: When it was let through; the median.
        first: How the first ones ended.
    """

    scenario: str
    rule: str
    runs: int
    rolled_back: int
    held: int
    seconds: float
    hit: float
    hit_most: int
    through: float
    first: tuple[Ended, ...]


def tried(scenario: Scenario, rule: str, runs: int) -> Told:
    """Judge so many rollouts of a scenario by one rule."""
    ends = list(endings(scenario, rule, runs))
    back = [one for one in ends if one.decision == "roll_back"]
    through = [one.seconds for one in ends if one.decision == "go_on"]
    hits = sorted(one.hit for one in back)
    return Told(
        scenario.name,
        rule,
        runs,
        len(back),
        sum(one.decision == "hold" for one in ends),
        median(one.seconds for one in back) if back else 0.0,
        median(hits) if hits else 0.0,
        hits[int(0.9 * (len(hits) - 1))] if hits else 0,
        median(through) if through else 0.0,
        tuple(ends[:FIRST]),
    )


def load() -> tuple[Told, ...]:
    """What is known by now."""
    return msgspec.json.decode(FILE.read_bytes(), type=tuple[Told, ...]) if FILE.exists() else ()


def save(results: Iterable[Told]) -> None:
    """Keep it, in the order of the page."""
    known = {(one.scenario, one.rule): one for one in results}
    wanted = [known[of] for one in SCENARIOS for rule in RULES if (of := (one.name, rule)) in known]
    _ = FILE.write_bytes(msgspec.json.format(msgspec.json.encode(wanted), indent=1) + b"\n")


def missing(results: Iterable[Told], grown: Iterable[Grown]) -> Iterator[str]:
    """What is not known of the scenarios that there are, and what is known of others."""
    if {one.name for one in grown} != {one.name for one in GROWING}:
        yield "is of other releases whose memory grows"
    wanted = {(one.name, rule) for one in SCENARIOS for rule in RULES}
    known = {(one.scenario, one.rule) for one in results}
    yield from (f"lacks {name} by {rule}" for name, rule in sorted(wanted - known))
    yield from (f"has {name} by {rule}, which there is no more" for name, rule in sorted(known - wanted))


def page(results: Iterable[Told], grown: Iterable[Grown]) -> str:
    """The page of all that is known."""
    grown = tuple(grown)
    known = {(one.scenario, one.rule): one for one in results}
    rules = " | ".join("ours" if rule == "ours" else rule.removesuffix("'s") for rule in RULES)
    lines = "---:|" * len(RULES)
    runs = max(one.runs for one in known.values())
    sure = [known[one.name, "ours"] for one in GOOD if not (one.bursts or one.uneven) and one.stories]
    return "".join(
        (
            INTRODUCTION.format(runs=runs),
            GOOD_HEAD.format(rules=rules, lines=lines),
            *(_good(one, known) for one in GOOD),
            BAD_HEAD.format(rules=rules, lines=lines),
            *(_bad(one, known) for one in BAD),
            MEMORY.format(runs=max(one.runs for one in grown)),
            *(_grown(one) for one in grown),
            CLOSING.format(
                alpha=1.0 / TERMS.alpha,
                alarms=sum(one.rolled_back for one in sure),
                of=sum(one.runs for one in sure),
            ),
        )
    )


def _good(scenario: Scenario, known: dict[tuple[str, str], Told]) -> str:
    told = [known[scenario.name, rule] for rule in RULES]
    cells = [_part(one.rolled_back, one.runs) for one in told]
    ours = known[scenario.name, "ours"]
    through = f"{ours.through:.0f} s" if ours.through else "-"
    return f"| {scenario.name} | {' | '.join(cells)} | {_part(ours.held, ours.runs)} | {through} |\n"


def _bad(scenario: Scenario, known: dict[tuple[str, str], Told]) -> str:
    cells: list[str] = []
    for rule in RULES:
        one = known[scenario.name, rule]
        when = f", {one.seconds:.0f} s, {one.hit:,.0f} failed" if one.rolled_back else ""
        cells.append(f"{_part(one.rolled_back, one.runs)}{when}")
    return f"| {scenario.name} | {' | '.join(cells)} |\n"


def _grown(one: Grown) -> str:
    what = f"leaks {one.name}" if one.leaks else f"has {one.name}"
    when = f"{one.seconds:.1f} s | {one.seconds_most:.1f} s" if one.noticed else "- | -"
    return f"| {what} | {_part(one.noticed, one.runs)} | {when} |\n"


def _part(some: int, of: int) -> str:
    return f"{100.0 * some / of:.3g} %"
