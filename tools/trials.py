"""Tries the platform with real processes under 200 requests a second from outside, and prints what came of it.

    python tools/trials.py                                     as much as is promised; takes half an hour
    python tools/trials.py --deploys 5 --kills 10 --bads 2     less of it

Fails where a request was lost that may not be, or a bad release did not go back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.trials.trials import Bad, Deployed, Killed, all_of


def main() -> int:
    """Try, print, judge."""
    parser = argparse.ArgumentParser(description="Try the platform under requests from outside.")
    parser.add_argument("--deploys", type=int, default=50, help="by each strategy")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--bads", type=int, default=5, help="of each kind")
    wanted = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="hanse-trials-") as folder:
        for told in all_of(Path(folder), wanted.deploys, wanted.kills, wanted.bads):
            print(told, flush=True)
            wrong += is_wrong(told)
    return 1 if wrong else 0


def is_wrong(told: Deployed | Killed | Bad) -> bool:
    """Whether it is not as promised."""
    match told:
        case Deployed(failed=failed):
            return failed > 0
        case Killed(safe_failed=failed, untold=untold):
            return failed > 0 or untold > 0
        case Bad(times=times, back=back):
            return back < times


if __name__ == "__main__":
    sys.exit(main())
