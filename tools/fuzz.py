"""Fuzzes until the time is over, or until something is found: `make fuzz`, `make fuzz MINUTES=5`, `make fuzz HOURS=8`.

Each round runs tests/fuzz with a new seed and more examples than `make test` has time for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hanse.kernel.host import Host

ROOT = Path(__file__).parents[1]
TIMES = 10
"""How many times as many examples a round has, as a run of the tests."""


def main(seconds: float) -> int:
    """Run rounds; 1 where one of them found something."""
    host = Host.system()
    end = host.monotonic() + seconds
    rounds = 0
    while rounds == 0 or host.monotonic() < end:
        seed = int(host.new_id().replace("-", ""), 16) % 2**32
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-o", "timeout=0", "tests/fuzz"]
        command += [f"--hypothesis-seed={seed}"]
        times = os.environ.get("HANSE_FUZZ_TIMES", str(TIMES))
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "HANSE_FUZZ_TIMES": times}, check=False)  # noqa: S603 - ours
        rounds += 1
        if done.returncode:
            print(f"found something in round {rounds}; again: HANSE_FUZZ_TIMES={times} {' '.join(command[1:])}")
            return 1
        print(f"round {rounds}: nothing found, {max(0.0, end - host.monotonic()):.0f} s left")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) * 60))
