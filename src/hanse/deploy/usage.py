"""What processes take of a machine, as Linux tells it: each instance with all that it has started in its session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from hanse.deploy.linux import PROC

_SESSION, _USER, _SYSTEM, _PAGES = 3, 11, 12, 21
"""Where /proc/PID/stat has these, behind the name."""


class Usage(msgspec.Struct, frozen=True):
    """What some processes have taken.

    Attributes:
        cpu_seconds: Of processors, since they began.
        memory_bytes: That they hold now, with what they share counted for each.
        processes: How many they are.
    """

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        """What both have taken."""
        return Usage(
            self.cpu_seconds + other.cpu_seconds,
            self.memory_bytes + other.memory_bytes,
            self.processes + other.processes,
        )


def usage_by_session(*, proc: Path = PROC) -> dict[int, Usage]:
    """What the processes of each session take; nothing where the system does not tell.

    Args:
        proc: Where it would.
    """
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found: dict[int, Usage] = {}
    with suppress(OSError):
        for entry in proc.iterdir():
            if entry.name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                    cpu = (int(fields[_USER]) + int(fields[_SYSTEM])) / ticks
                    session = int(fields[_SESSION])
                    found[session] = found.get(session, Usage()) + Usage(cpu, int(fields[_PAGES]) * page, 1)
    return found


def cpu_share(before: Mapping[int, Usage], after: Mapping[int, Usage], session: int, seconds: float) -> float:
    """How much of one processor a session took between two looks: 1.0 is all of it.

    Example:
        >>> cpu_share({7: Usage(1.0)}, {7: Usage(1.5)}, 7, 2.0)
        0.25
    """
    taken = after.get(session, Usage()).cpu_seconds - before.get(session, Usage()).cpu_seconds
    # Processes that ended in between take what they took along.
    return max(0.0, taken / seconds) if seconds > 0 else 0.0
