"""Tries the judge on rollouts drawn from seeds, and writes docs/testing/judge-figures.md.

    python tools/judge.py              takes a quarter of an hour
    python tools/judge.py --only half  does what has that in its name, and leaves what is told of the others
    python tools/judge.py --runs 20    does fewer of each
    python tools/judge.py --memory     does those whose memory grows alone, in a minute
    python tools/judge.py --ours       leaves out the rules of others
    python tools/judge.py --write      judges nothing; writes the page anew from what is known
    python tools/judge.py --check      judges nothing; fails where the page is not of these results and scenarios

A rollout follows its seed: whoever does it again comes to the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.judge import leaks  # noqa: E402
from tests.judge.figures import load, missing, page, save, tried  # noqa: E402
from tests.judge.rules import RULES  # noqa: E402
from tests.judge.scenarios import SCENARIOS  # noqa: E402

PAGE = ROOT / "docs" / "testing" / "judge-figures.md"
RUNS = 200
LEAKS = 100


def main() -> int:
    """Judge, tell, write."""
    parser = argparse.ArgumentParser(description="Try the judge, and write docs/testing/judge-figures.md.")
    parser.add_argument("--only", default="", help="do what has this in its name")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"rollouts of each; {RUNS} by default")
    parser.add_argument("--ours", action="store_true", help="leave out the rules of others")
    parser.add_argument("--memory", action="store_true", help="do those whose memory grows alone")
    parser.add_argument("--check", action="store_true", help="judge nothing; fail where the page is not of these")
    parser.add_argument("--write", action="store_true", help="judge nothing; write the page of what is known")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    if not arguments.write:
        leaks.save(leaks.grown(LEAKS))
    if not arguments.write and not arguments.memory:
        run(arguments.only, arguments.runs, ["ours"] if arguments.ours else list(RULES))
    if not list(missing(load(), leaks.load())):
        _ = PAGE.write_text(page(load(), leaks.load()), encoding="utf-8")
    return 0


def run(only: str, runs: int, rules: list[str]) -> None:
    """Judge all that has something in its name, by each of these rules."""
    for scenario in SCENARIOS:
        if only not in scenario.name:
            continue
        for rule in rules:
            told = tried(scenario, rule, runs)
            print(f"{told.scenario}, {rule}: {told.rolled_back} of {runs} back, {told.held} held", flush=True)
            print(f"    rolled back after {told.seconds:.0f} s, {told.hit:.0f} failed, nine of ten {told.hit_most}")
            save((*load(), told))


def check() -> int:
    """Whether the page is of these results, and these of the scenarios that there are."""
    results, grown = load(), leaks.load()
    wrong = list(missing(results, grown))
    if not wrong and (not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(results, grown)):
        wrong = ["is not of these results"]
    for line in wrong:
        print(f"docs/testing/judge-figures.md {line}; run python tools/judge.py")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
