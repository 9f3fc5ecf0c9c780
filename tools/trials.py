"""Tries the platform with real processes under 200 requests a second from outside; writes docs/testing/trials.md.

    python tools/trials.py                takes half an hour
    python tools/trials.py kills aborts   does these parts, and leaves what is told of the others
    python tools/trials.py --rest         does what has not been done in full, so that what broke off goes on
    python tools/trials.py --times 3      does each so often only, prints what comes of it, and writes nothing
    python tools/trials.py --write        tries nothing; writes the page anew from what is known
    python tools/trials.py --check        tries nothing; fails where the page is not of these results

Fails, and writes nothing of that part, where a request was lost that may not be, or a bad release did not go back.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.trials.outcomes import wrong_with  # noqa: E402
from tests.trials.page import differences, missing, page  # noqa: E402
from tests.trials.results import Done, load, save  # noqa: E402
from tests.trials.trials import PARTS  # noqa: E402

PAGE = ROOT / "docs" / "testing" / "trials.md"


def main() -> int:
    """Try, tell, write."""
    parser = argparse.ArgumentParser(description="Try the platform, and write docs/testing/trials.md.")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to do; all by default")
    parser.add_argument("--rest", action="store_true", help="do what has not been done in full")
    parser.add_argument("--times", type=int, default=0, help="how often; then nothing is written")
    parser.add_argument("--check", action="store_true", help="try nothing; fail where the page is not of these")
    parser.add_argument("--write", action="store_true", help="try nothing; write the page of what is known")
    wanted = parser.parse_args()
    if wanted.check:
        return check()
    if not wanted.write:
        run(list(missing(load())) if wanted.rest else wanted.parts or list(PARTS), wanted.times)
    _ = PAGE.write_text(page(load()), encoding="utf-8") if not wanted.times else 0
    return 0


def run(names: list[str], times: int) -> None:
    """Do parts, and keep what came of each."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="hanse-trials-") as folder:
            outcome = PARTS[name].run(Path(folder), times or PARTS[name].times)
        print(f"{name}: {outcome}", flush=True)
        if wrong := wrong_with(outcome):
            raise SystemExit(f"{name}: {wrong}")
        if not times:
            save(load() | {name: Done(outcome, round(os.getloadavg()[0], 1), os.cpu_count() or 1)})


def check() -> int:
    """Whether the page is of these results, and they of the parts that there are."""
    wrong = list(differences(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", load()))
    for line in wrong:
        print(f"docs/testing/trials.md {line}; run python tools/trials.py")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
