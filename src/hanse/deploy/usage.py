"""What processes take of a machine, as Linux tells it: each instance with all that it has started in its session."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from hanse.deploy.linux import PROC

_SESSION, _USER, _SYSTEM, _PAGES = 3, 11, 12, 21
"""Where /proc/PID/stat has these, behind the name."""


_ENGINES = (b"docker", b"podman")
"""The commands by which containers are waited for, as the system knows them."""

_ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


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

    A session in which a container is waited for takes what that does, and not what waiting costs.

    Args:
        proc: Where it would.
    """
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    found: dict[int, Usage] = {}
    some: dict[int, Path] = {}
    waits: dict[int, Path] = {}
    with suppress(OSError):
        for entry in proc.iterdir():
            if entry.name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    name, _, rest = (entry / "stat").read_bytes().rpartition(b")")
                    fields = rest.split()
                    cpu = (int(fields[_USER]) + int(fields[_SYSTEM])) / ticks
                    session = int(fields[_SESSION])
                    found[session] = found.get(session, Usage()) + Usage(cpu, int(fields[_PAGES]) * page, 1)
                    some[session] = entry
                    if name.partition(b"(")[2] in _ENGINES:
                        waits[session] = entry
    return found | _in_containers(found, some, waits) if waits else found


def _in_containers(found: Mapping[int, Usage], some: Mapping[int, Path], waits: Mapping[int, Path]) -> dict[int, Usage]:
    """What containers take, by the session in which each is waited for.

    Args:
        found: What each session takes.
        some: A process of each.
        waits: The engine's command in each that has one: the container's id is in it.
    """
    whose = {_container(place / "cmdline"): session for session, place in waits.items()}
    told: dict[int, Usage] = {}
    for session, place in some.items():
        inside = _container(place / "cgroup")
        if inside and inside in whose:
            waiting = whose[inside]
            told[waiting] = told.get(waiting, Usage()) + found[session]
    return told


def _container(file: Path) -> bytes:
    """The innermost container that a file of a process tells of; empty for none."""
    with suppress(OSError):
        return next(reversed(_ID.findall(file.read_bytes())), b"")
    return b""


def cpu_share(before: Mapping[int, Usage], after: Mapping[int, Usage], session: int, seconds: float) -> float:
    """How much of one processor a session took between two looks: 1.0 is all of it.

    Example:
        >>> cpu_share({7: Usage(1.0)}, {7: Usage(1.5)}, 7, 2.0)
        0.25
    """
    taken = after.get(session, Usage()).cpu_seconds - before.get(session, Usage()).cpu_seconds
    # Processes that ended in between take what they took along.
    return max(0.0, taken / seconds) if seconds > 0 else 0.0
