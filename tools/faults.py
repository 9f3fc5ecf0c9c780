"""Breaks what runs for real, and writes docs/testing/faults-survived.md: what was done, how often, and what came of it.

    python tools/faults.py             takes an hour
    python tools/faults.py kills       does one part of it, and leaves what is told of the others
    python tools/faults.py --check     breaks nothing; fails where the page is not of these faults and these results

Fails, and writes nothing of that part, where an effect was lost or happened twice.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.places import PLACES, missing  # noqa: E402
from tests.faults.results import Results, load, save  # noqa: E402
from tests.faults.sweep import Survived, doses, survive  # noqa: E402

from hanse.kernel.fault_point import POINTS  # noqa: E402 - beside what is found on the path set above

PAGE = ROOT / "docs" / "testing" / "faults-survived.md"
KILLS = 20
"""At each point, in all places together."""

INTRODUCTION = """<!-- Written by `make faults` from what it did; change tests/faults. -->

# Faults survived

The [simulation](simulation.md) breaks worlds that are not there.
Here processes, servers and disks are real, and so is what happens to them; `make faults` does it again.
"""
AT_POINTS = """
## Killed at {points} fault points

A [shop](../../tests/faults/shop.py) takes orders: a saga creates, charges and confirms each; events, a rule, \
a replica, dead letters that are mended and a schedule hang on it.
Its parts are processes of their own, killed with `kill -9` exactly where the code passes a point, and started again; \
the parts side by side, while customers go on ordering.
In the end every order has to have each of its effects once: **{once} of {orders}**, after {kills} kills.

| where | kills | orders | once in effect |
|---|---|---|---|
"""
POINTS_HEAD = """
| point | what is so there | kills |
|---|---|---|
"""


def main() -> int:
    """Break, tell, write."""
    parser = argparse.ArgumentParser(description="Break what runs, and write docs/testing/faults-survived.md.")
    parser.add_argument("parts", nargs="*", choices=[*RUNS, []], help="what to do; all by default")
    parser.add_argument("--check", action="store_true", help="break nothing; fail where the page is not of these")
    arguments = parser.parse_args()
    if arguments.check:
        return check(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", load())
    for name in arguments.parts or RUNS:
        found = RUNS[name](load())
        if found is None:
            print(f"{name}: something was lost, or happened twice; nothing is written of it")
            return 1
        save(found)
        PAGE.write_text(page(found), encoding="utf-8")
    return 0


def kills(results: Results) -> Results | None:
    """Kill at all points, in all places."""
    found: list[Survived] = []
    for first, place in enumerate(PLACES):
        if why := missing(place):
            print(f"{place.title}: {why}")
            return None
        wanted = doses(POINTS, len(range(first, KILLS, len(PLACES))), first)
        with tempfile.TemporaryDirectory(prefix="hanse-faults-") as folder:
            one = asyncio.run(survive(place, Path(folder), wanted))
        print(f"{one.place}: {one.effects.once} of {one.effects.orders} after {sum(one.kills.values())} kills")
        for line in one.effects.wrong:
            print(f"  {line}")
        found.append(one)
    return None if any(one.effects.wrong for one in found) else msgspec.structs.replace(results, kills=tuple(found))


RUNS: dict[str, Callable[[Results], Results | None]] = {"kills": kills}
"""The parts of the page, and what makes each."""


def check(text: str, results: Results) -> int:
    """Whether the page is of these results, and these of the points and places that there are."""
    wrong = list(differences(text, results))
    for line in wrong:
        print(f"docs/testing/faults-survived.md {line}; run python tools/faults.py")
    return int(bool(wrong))


def differences(text: str, results: Results) -> Iterator[str]:
    """What the page has to have, and has not."""
    if text != page(results):
        yield "is not what its results say"
    if (there := [one.place for one in results.kills]) != (wanted := [place.title for place in PLACES]):
        yield f"is about {there}, and there are {wanted}"
    for point in POINTS:
        if (times := killed_at(results.kills, point)) < KILLS:
            yield f"has {times} kills at {point}, of {KILLS}"
    for point in sorted({point for one in results.kills for point in one.kills} - set(POINTS)):
        yield f"still has the point {point}"


def page(results: Results) -> str:
    """The whole page."""
    return "".join((INTRODUCTION, *at_points(results.kills)))


def at_points(told: Sequence[Survived]) -> Iterator[str]:
    """Kills at fault points: by place, and by point."""
    yield AT_POINTS.format(
        points=len({point for one in told for point in one.kills}),
        once=sum(one.effects.once for one in told),
        orders=sum(one.effects.orders for one in told),
        kills=sum(sum(one.kills.values()) for one in told),
    )
    for one in told:
        yield f"| {one.place} | {sum(one.kills.values())} | {one.effects.orders} | {one.effects.once} |\n"
    yield POINTS_HEAD
    for point, meaning in POINTS.items():
        yield f"| `{point}` | {meaning} | {killed_at(told, point)} |\n"


def killed_at(told: Sequence[Survived], point: str) -> int:
    """How often, in all places."""
    return sum(one.kills.get(point, 0) for one in told)


if __name__ == "__main__":
    sys.exit(main())
