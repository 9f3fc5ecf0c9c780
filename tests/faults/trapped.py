"""`hanse`, in a process that kills itself at a fault point: the trap is armed here, and nowhere in what we ship.

    FAULT_AT=relay.before_save:2 FAULT_TOLD=killed python trapped.py run shop.py

kills it as it passes that point for the second time, having added a line with the name of the point to a file.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from hanse.cli import main
from hanse.kernel import fault_point

AT, TOLD, HOW = "FAULT_AT", "FAULT_TOLD", "FAULT_HOW"


def trap(point: str, times: int, told: Path, how: signal.Signals = signal.SIGKILL) -> Callable[[str], None]:
    """What kills this process as it passes a point for a given time, whichever thread it does so in.

    With SIGSTOP in place of SIGKILL it stands still there, until somebody has it go on.
    """
    passes = itertools.count(1)

    def passed(name: str) -> None:
        if name == point and next(passes) == times:
            with told.open("a") as file:
                _ = file.write(f"{point}\n")
            os.kill(os.getpid(), how)

    return passed


if __name__ == "__main__":
    wanted, _, nth = os.environ.get(AT, "").partition(":")
    if wanted:
        assert wanted in fault_point.POINTS, wanted
        fault_point.arm(trap(wanted, int(nth), Path(os.environ[TOLD]), signal.Signals[os.environ.get(HOW, "SIGKILL")]))
    sys.exit(main())
