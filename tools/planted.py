"""Hunts every planted bug and writes docs/testing/planted-bugs.md: what was found, and what it took.

    python tools/planted.py            takes some minutes
    python tools/planted.py NAME ...   hunts these bugs only, and writes nothing

Fails where a bug is not found, or where the run that is left of it does something else in another process.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from planted.hunt import SEEDS_MAX, Found, bugs, hunted, replayed  # noqa: E402 - found on the path set above

PAGE = ROOT / "docs" / "testing" / "planted-bugs.md"
NOTE = "<!-- Written by `make planted`, which hunts every bug anew; change the docstrings in tests/planted/bugs. -->\n"
SOON = 10
"""Seeds that are few."""

INTRODUCTION = """
# Planted bugs

A check that never failed proves nothing.
So each of the {count} files in [tests/planted/bugs](../../tests/planted/README.md) takes one safeguard out of Hanse.
The [simulation](simulation.md) has to notice within {most} seeds.

{early} of them are found under the first seed, and {fast} under one of the first {soon}; the rarest takes {rarest}.
The plans that they are found under have {drawn} incidents on average, and {left} are left once they are made small.
Where none is left, load and chance are enough: two callers at once, an answer that is slow.

Every run of this table was made again in another process, with the sets of Python in another order.
The same happened, to the byte.
"""
HEAD = """
| bug | what is gone, and what follows | world | profile | seeds | incidents drawn | left | what noticed |
|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    """Hunt, tell, write."""
    parser = argparse.ArgumentParser(description="Hunt planted bugs, and write docs/testing/planted-bugs.md.")
    parser.add_argument("names", nargs="*", choices=[*bugs(), []], help="bugs; all of them by default")
    names: list[str] = parser.parse_args().names
    with ThreadPoolExecutor(os.cpu_count()) as hunters:
        found = list(hunters.map(hunt, names or bugs()))
    if not all(found):
        return 1
    if not names:
        PAGE.write_text(page([one for one in found if one]), encoding="utf-8")
    return 0


def hunt(name: str) -> Found | None:
    """Hunt one bug in processes of their own, and say what came of it."""
    found = hunted(name)
    if found.violation is None:
        print(f"{name}: NOT FOUND within {SEEDS_MAX} seeds of {found.profile}", flush=True)
        return None
    if replayed(found) != found:
        print(f"{name}: {found.token} does something else in another process", flush=True)
        return None
    print(f"{name}: {found.token} after {found.seeds} seeds: {found.violation.check}", flush=True)
    return found


def page(found: Sequence[Found]) -> str:
    """The page of all bugs."""
    seeds = [one.seeds for one in found]
    introduction = INTRODUCTION.format(
        count=len(found),
        most=SEEDS_MAX,
        early=Counter(seeds)[1],
        fast=sum(number <= SOON for number in seeds),
        soon=SOON,
        rarest=max(seeds),
        drawn=f"{sum(one.drawn for one in found) / len(found):.1f}",
        left=f"{sum(one.left for one in found) / len(found):.1f}",
    )
    return NOTE + introduction + HEAD + "".join(map(row, found))


def row(found: Found) -> str:
    """One bug, as a line of the table."""
    assert found.violation is not None
    cells = (
        f"[`{found.name}`](../../tests/planted/bugs/{found.name}.py)",
        f"{found.gone} {found.follows}",
        found.world,
        found.profile,
        str(found.seeds),
        str(found.drawn),
        str(found.left),
        found.violation.check,
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(main())
