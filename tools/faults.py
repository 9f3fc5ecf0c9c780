"""Breaks what runs for real, and writes docs/testing/faults-survived.md: what was done, how often, and what came of it.

    python tools/faults.py             takes an hour
    python tools/faults.py kills       does one part of it, and leaves what is told of the others
    python tools/faults.py --only zmq  does what has that in its title, so that what broke off goes on where it was
    python tools/faults.py --check     breaks nothing; fails where the page is not of these faults and these results

Fails, and writes nothing of that place, where an effect was lost or happened twice.
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

from tests.faults import disk  # noqa: E402
from tests.faults.peers import PEERS, PYTHON, TITLE, Compared, compare, ours  # noqa: E402
from tests.faults.places import PLACES, missing  # noqa: E402
from tests.faults.results import Results, load, save  # noqa: E402
from tests.faults.sweep import Survived, doses, survive  # noqa: E402
from tests.faults.troubles import DISK_TIMES, TROUBLES, Told, disk_full, suffer, titles  # noqa: E402

from hanse.kernel.fault_point import POINTS  # noqa: E402 - beside what is found on the path set above

PAGE = ROOT / "docs" / "testing" / "faults-survived.md"
KILLS = 20
"""At each point, in all places together."""

PEER_KILLS = 20
"""At each of the moments that others have, too."""

INTRODUCTION = """<!-- Written by `make faults` from what it did; change tests/faults. -->

# Faults survived

The [simulation](simulation.md) breaks worlds that are not there.
Here processes, servers and disks are real, and so is what happens to them; `make faults` does it again.
"""
AT_POINTS = """
## Killed at {points} fault points

A [shop](../../tests/faults/shop.py) takes orders: a saga creates, charges and confirms each; events, a rule, \
a replica, dead letters that are mended and a schedule hang on it.
Its parts are processes of their own, killed with `kill -9` exactly where the code passes a point, and started again, \
while customers go on ordering.
In the end every order has to have each of its effects once: **{once} of {orders}**, after {kills} kills.

| where | kills | orders | once in effect |
|---|---|---|---|
"""
AROUND = """
## Broken around it

The same shop, whose parts live on, and what they rest on does not.

| what happens | where | times | orders | once in effect |
|---|---|---|---|---|
"""
BESIDE = """
## Others, killed at the same moments

One process commits orders, another one charges them; both are killed with an order committed, with a charge written, \
and with a charge committed that is not acknowledged.
The others run as their documents recommend ([scripts](../../bench/faults)); neither promises what it does not keep: \
the one tells its users to make tasks idempotent, the other that delivery is at least once.

| with | kills | orders | never charged | charged twice |
|---|---|---|---|---|
"""
POINTS_HEAD = """
| point | what is so there | kills |
|---|---|---|
"""


def main() -> int:
    """Break, tell, write."""
    parser = argparse.ArgumentParser(description="Break what runs, and write docs/testing/faults-survived.md.")
    parser.add_argument("parts", nargs="*", choices=[*RUNS, []], help="what to do; all by default")
    parser.add_argument("--only", default="", help="do what has this in the title of its place or of what happens")
    parser.add_argument("--check", action="store_true", help="break nothing; fail where the page is not of these")
    arguments = parser.parse_args()
    if arguments.check:
        return check(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", load())
    for name in arguments.parts or RUNS:
        for found in RUNS[name](load(), arguments.only):
            save(found)
            PAGE.write_text(page(found), encoding="utf-8")
    return 0


def kills(results: Results, only: str) -> Iterator[Results]:
    """Kill at all points, in one place after the other."""
    for first, place in enumerate(PLACES):
        if only not in place.title:
            continue
        if why := missing(place):
            raise SystemExit(f"{place.title}: {why}")
        wanted = doses(POINTS, len(range(first, KILLS, len(PLACES))), first)
        with tempfile.TemporaryDirectory(prefix="hanse-faults-") as folder:
            one = asyncio.run(survive(place, Path(folder), wanted))
        print(
            f"{one.place}: {one.effects.once} of {one.effects.orders} after {sum(one.kills.values())} kills", flush=True
        )
        if one.effects.wrong:
            raise SystemExit("\n  ".join(("lost, or happened twice:", *one.effects.wrong)))
        known = {told.place: told for told in results.kills} | {one.place: one}
        results = msgspec.structs.replace(
            results, kills=tuple(known[place.title] for place in PLACES if place.title in known)
        )
        yield results


def troubles(results: Results, only: str) -> Iterator[Results]:
    """Break what is around the shop, in one place after the other."""
    if why := disk.why_not():
        raise SystemExit(why)
    for one, title in titles().items():
        if not any(only in name for name in (title, *one)):
            continue
        with tempfile.TemporaryDirectory(prefix="hanse-faults-") as folder:
            told = asyncio.run(trouble(*one, Path(folder)))
        print(f"{told.trouble} in {told.place}: {told.effects.once} of {told.effects.orders}", flush=True)
        if told.effects.wrong:
            raise SystemExit("\n  ".join(("lost, or happened twice:", *told.effects.wrong)))
        known = {(it.trouble, it.place): it for it in results.troubles} | {one: told}
        results = msgspec.structs.replace(results, troubles=tuple(known[it] for it in titles() if it in known))
        yield results


async def trouble(name: str, place: str, folder: Path) -> Told:
    """Have one thing go wrong in one place."""
    if name not in TROUBLES:
        return await disk_full(folder, DISK_TIMES)
    found = TROUBLES[name]
    return await suffer(found, next(one for one in found.places if one.title == place), folder, found.times)


def peers(results: Results, only: str) -> Iterator[Results]:
    """Kill others, and us, at the same moments."""
    if not PYTHON.exists():
        raise SystemExit("others are not installed; run bench/install")
    in_order = (TITLE, *(peer.title for peer in PEERS))
    for peer in (None, *PEERS):
        if only not in (TITLE if peer is None else peer.title):
            continue
        with tempfile.TemporaryDirectory(prefix="hanse-faults-") as folder:
            at = Path(folder)
            found = asyncio.run(ours(at, PEER_KILLS) if peer is None else compare(peer, at, PEER_KILLS))
        print(found, flush=True)
        known = {it.title: it for it in results.peers} | {found.title: found}
        results = msgspec.structs.replace(results, peers=tuple(known[it] for it in in_order if it in known))
        yield results


RUNS: dict[str, Callable[[Results, str], Iterator[Results]]] = {"kills": kills, "troubles": troubles, "peers": peers}
"""The parts of the page, and what makes each."""


def check(text: str, results: Results) -> int:
    """Whether the page is of these results, and these of the points and places that there are."""
    wrong = list(differences(text, results))
    for line in wrong:
        print(f"docs/testing/faults-survived.md {line}; run python tools/faults.py")
    return int(bool(wrong))


def differences(text: str, results: Results) -> Iterator[str]:
    """What the page has, and should not have."""
    if text != page(results):
        yield "is not what its results say"
    for point in sorted({point for one in results.kills for point in one.kills} - set(POINTS)):
        yield f"still has the point {point}"
    for place in sorted({one.place for one in results.kills} - {place.title for place in PLACES}):
        yield f"still has the place {place}"
    for name, place in sorted({(one.trouble, one.place) for one in results.troubles} - set(titles())):
        yield f"still has {name} in {place}"


def lacks(results: Results) -> Iterator[str]:
    """What there is to be done, and is not in these results."""
    done = {one.place: one for one in results.kills}
    yield from (f"kills in: {place.title}" for place in PLACES if place.title not in done)
    times = [killed_at(results.kills, point) for point in POINTS]
    if min(times) < KILLS:
        yield f"{KILLS} kills at each point: there are {min(times)} to {max(times)}"
    known = {(one.trouble, one.place) for one in results.troubles}
    yield from (f"{title}, in: {one[1]}" for one, title in titles().items() if one not in known)
    if not results.peers:
        yield "others, killed at the same moments"


def page(results: Results) -> str:
    """The whole page."""
    return "".join(
        (INTRODUCTION, *at_points(results.kills), *around(results.troubles), *beside(results.peers), *missed(results))
    )


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


def around(told: Sequence[Told]) -> Iterator[str]:
    """What else went wrong."""
    yield AROUND
    for one in told:
        title = titles().get((one.trouble, one.place), one.trouble)
        yield f"| {title} | {one.place} | {one.times} | {one.effects.orders} | {one.effects.once} |\n"


def missed(results: Results) -> Iterator[str]:
    """What is not told of, as it has not been done yet."""
    found = list(lacks(results))
    if found:
        yield "\n## Not done yet\n\n"
        yield from (f"- {line}\n" for line in found)


def beside(told: Sequence[Compared]) -> Iterator[str]:
    """What others make of kills."""
    if not told:
        return
    yield BESIDE
    for one in told:
        yield f"| {one.title} | {one.kills} | {one.orders} | {one.lost} | {one.twice} |\n"


def killed_at(told: Sequence[Survived], point: str) -> int:
    """How often, in all places."""
    return sum(one.kills.get(point, 0) for one in told)


if __name__ == "__main__":
    sys.exit(main())
