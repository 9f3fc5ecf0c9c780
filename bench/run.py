"""Measures groups of cases, and writes RESULTS.md and RESULTS.json beside this file.

python bench/run.py [GROUP ...] [--rounds N] [--seconds S] [--only TEXT]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import report
from groups import GROUPS
from plan import Group, Outcome, SkippedError

HERE = Path(__file__).parent


def main() -> int:
    options = _options()
    failed = False
    for name in options.groups or GROUPS:
        group = GROUPS[name]
        compile_ours(group.python)
        machine = report.machine(group.python)
        outcomes = measure(group, options.rounds, options.seconds, options.only)
        failed |= any(outcome.skipped.startswith("failed") for outcome in outcomes.values())
        if options.only:
            continue
        written = report.record(HERE / "RESULTS.json", group, outcomes, machine)
        (HERE / "RESULTS.md").write_text(report.page(GROUPS, written))
    return int(failed)


def compile_ours(python: Path) -> None:
    """Have bytecode beside the source, as an installed package has: a start would compile all of it anew wherever
    Python was told to write none."""
    folders = [str(HERE.parent / "src"), str(HERE / "cases")]
    if python.exists():
        _ = subprocess.run([python, "-m", "compileall", "-q", *folders], check=True)


def measure(group: Group, rounds: int, seconds: float, only: str) -> dict[str, Outcome]:
    """Each case once per round, so that what disturbs the machine for a while disturbs all of them."""
    cases = [case for case in group.cases if only in case.name]
    outcomes = {case.name: Outcome() for case in cases}
    for turn in range(-1 if group.warm_up else 0, rounds):
        for case in cases:
            outcome = outcomes[case.name]
            if outcome.skipped:
                continue
            try:
                figures = case.measure(seconds)
            except SkippedError as reason:
                outcome.skipped = str(reason)
                continue
            except (RuntimeError, OSError) as error:
                # One that cannot be measured is no reason to lose the others.
                outcome.skipped = "failed"
                print(error, file=sys.stderr)
                continue
            if turn >= 0:
                outcome.rounds.append(figures)
                told = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
                print(f"{group.name} {turn + 1}/{rounds}  {case.name}: {told}", flush=True)
    return outcomes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; by default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a case runs in each round")
    parser.add_argument("--only", default="", help="cases whose name has this in it; nothing is written")
    options = parser.parse_args()
    if unknown := [name for name in options.groups if name not in GROUPS]:
        parser.error(f"there is no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
