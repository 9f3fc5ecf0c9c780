"""Breaks what runs for real, and writes docs/testing/faults-survived.md: what was done, how often, and what came of it.

    python tools/faults.py             takes an hour
    python tools/faults.py kills       does one part of it, and leaves what is told of the others
    python tools/faults.py --only zmq  does what has that in its title, so that what broke off goes on where it was
    python tools/faults.py --write     breaks nothing; writes the page anew from what is known
    python tools/faults.py --check     breaks nothing; fails where the page is not of these faults and these results

Fails, and writes nothing of that place, where an effect was lost or happened twice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults import disk  # noqa: E402
from tests.faults.amounts import amounts  # noqa: E402
from tests.faults.full import TIMES, disk_full  # noqa: E402
from tests.faults.page import KILLS, PEER_KILLS, differences, page, titles  # noqa: E402
from tests.faults.peers import PEERS, PYTHON, TITLE, compare, ours  # noqa: E402
from tests.faults.places import PLACES, missing  # noqa: E402
from tests.faults.results import Results, load, save  # noqa: E402
from tests.faults.sweep import doses, survive  # noqa: E402
from tests.faults.troubles import TROUBLES, Told, suffer  # noqa: E402

from hanse.kernel.fault_point import POINTS  # noqa: E402 - beside what is found on the path set above

PAGE = ROOT / "docs" / "testing" / "faults-survived.md"


def main() -> int:
    """Break, tell, write."""
    parser = argparse.ArgumentParser(description="Break what runs, and write docs/testing/faults-survived.md.")
    parser.add_argument("parts", nargs="*", choices=[*RUNS, []], help="what to do; all by default")
    parser.add_argument("--only", default="", help="do what has this in the title of its place or of what happens")
    parser.add_argument("--check", action="store_true", help="break nothing; fail where the page is not of these")
    parser.add_argument("--write", action="store_true", help="break nothing; write the page of what is known")
    arguments = parser.parse_args()
    # What they warn of is what is being done to them.
    logging.getLogger("hanse").setLevel(logging.CRITICAL)
    if arguments.check:
        return check(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", load())
    if arguments.write:
        PAGE.write_text(page(load()), encoding="utf-8")
        return 0
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
        return await disk_full(name.removeprefix("disk of "), folder, TIMES)
    found = TROUBLES[name]
    return await suffer(found, next(one for one in found.places if one.title == place), folder, found.times)


def masses(results: Results, only: str) -> Iterator[Results]:
    """Do what is done with very many of something."""
    wanted = amounts()
    for one, show in wanted.items():
        if not any(only in name for name in one):
            continue
        with tempfile.TemporaryDirectory(prefix="hanse-faults-") as folder:
            told = show(Path(folder))
        print(told, flush=True)
        known = {(it.name, it.place): it for it in results.amounts} | {one: told}
        results = msgspec.structs.replace(results, amounts=tuple(known[it] for it in wanted if it in known))
        yield results


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


RUNS: dict[str, Callable[[Results, str], Iterator[Results]]] = {
    "kills": kills,
    "troubles": troubles,
    "masses": masses,
    "peers": peers,
}
"""The parts of the page, and what makes each."""


def check(text: str, results: Results) -> int:
    """Whether the page is of these results, and these of the points and places that there are."""
    wrong = list(differences(text, results))
    for line in wrong:
        print(f"docs/testing/faults-survived.md {line}; run python tools/faults.py")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
