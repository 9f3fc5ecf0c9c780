"""What this process uses of the machine: processor, memory, open files, and how late its loop is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hanse.gateway.exposition import Family

TICK_SECONDS = 0.25
"""Between two looks at how late the loop is."""

WATCHED_SECONDS = 300.0
"""How long the loop is watched after somebody asked: nobody pays for what nobody reads."""

_PROC = Path("/proc/self")


class LoopLag:
    """How late the event loop comes to its timers, while somebody asks now and then.

    Example:
        >>> async def main() -> bool:
        ...     lag = LoopLag()
        ...     before = lag.take()
        ...     await asyncio.sleep(TICK_SECONDS * 2)
        ...     return before == 0.0 and lag.take() >= 0.0
        >>> asyncio.run(main())
        True
    """

    def __init__(self) -> None:
        self._worst = 0.0
        self._until = 0.0
        self._watching = False

    def take(self) -> float:
        """Seconds by which the loop was late, at the worst since the last question; 0 at the first."""
        loop = asyncio.get_running_loop()
        self._until = loop.time() + WATCHED_SECONDS
        if not self._watching:
            self._watching = True
            self._wait(loop)
        worst, self._worst = self._worst, 0.0
        return worst

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        _ = loop.call_later(TICK_SECONDS, self._came, loop, loop.time() + TICK_SECONDS)

    def _came(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._worst = max(self._worst, now - due)
        if now < self._until:
            self._wait(loop)
        else:
            self._watching = False


def process_families() -> Iterator[Family]:
    """What the process uses, as far as this system tells."""
    used = os.times()
    yield Family("process_cpu_seconds", "counter", "Processor time used.", [({}, used.user + used.system)])
    for name, told, read in (
        ("process_resident_memory_bytes", "Memory in use.", _resident_bytes),
        ("process_virtual_memory_bytes", "Memory asked for.", _virtual_bytes),
        ("process_open_fds", "Open file descriptors.", _open_files),
        ("process_max_fds", "File descriptors that may be open.", _files_max),
        ("process_start_time_seconds", "When the process began, in seconds since 1970.", _begun),
    ):
        with suppress(OSError, ImportError, ValueError, IndexError):
            yield Family(name, "gauge", told, [({}, read())])


def _pages(index: int) -> float:
    return int((_PROC / "statm").read_bytes().split()[index]) * os.sysconf("SC_PAGE_SIZE")


def _virtual_bytes() -> float:
    return _pages(0)


def _resident_bytes() -> float:
    return _pages(1)


def _open_files() -> float:
    return len(os.listdir(_PROC / "fd"))  # noqa: PTH208 - only counted


def _files_max() -> float:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _begun() -> float:
    # The command's name, in brackets, may hold anything; see proc(5).
    ticks = int((_PROC / "stat").read_text().rpartition(")")[2].split()[19])
    booted = next(line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(booted) + ticks / os.sysconf("SC_CLK_TCK")
