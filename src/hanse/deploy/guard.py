"""The process that a terminal or a service manager sees: it has one child, the keeper, and leaves nobody behind.

Should the keeper be killed, all that it was the parent of become children of this process, whatever sessions and
groups they have made for themselves, and are killed until none is left. Should this process be killed, the keeper
hears of it and does the same.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from hanse.deploy.linux import adopt, children_of, die_with, marked

GUARD_GONE = signal.SIGUSR2
"""What the keeper hears when its guard was killed."""

SEXTON = "HANSE_SEXTON"
"""Variable of those who clear away what outlives processes of the system."""

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def guarded(keep: Callable[[], int]) -> int:
    """Run a keeper as a child of this process.

    Args:
        keep: What the child does; in it, this function raises SystemExit instead of returning.

    Returns:
        The exit code of the keeper; by then nobody is left whom it was a parent of.
    """
    adopt()
    guard = os.getpid()
    # Whatever comes before the keeper can hear it waits.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    keeper = os.fork()
    if keeper == 0:
        # A group of its own: what the terminal sends to the foreground comes by way of the guard, and so once.
        os.setpgid(0, 0)
        _ = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        die_with(guard, GUARD_GONE)
        raise SystemExit(keep())

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        with suppress(ProcessLookupError):
            os.kill(keeper, number)

    for number in FORWARDED:
        _ = signal.signal(number, forward)
    _ = signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return _watched(keeper)


def _watched(keeper: int) -> int:
    code = 0
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return code
        if pid == keeper:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code
        if not _is_there(keeper):
            end_children()


def end_children() -> None:
    """Kill all children of this process, those that it has adopted among them.

    Sextons are left: each has a container to clear away, and ends by itself, within a limit.
    """
    sextons = set(marked(f"{SEXTON}=1"))
    for pid in children_of(os.getpid()):
        if pid in sextons:
            continue
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _is_there(keeper: int) -> bool:
    try:
        os.kill(keeper, 0)
    except ProcessLookupError:
        return False
    return True
