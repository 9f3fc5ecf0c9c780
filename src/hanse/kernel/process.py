"""Who a process is, among all that ever ran on its machine: so that the next one can tell that it has ended.

A number alone does not say it: numbers are given again. One number, born at one tick of one boot, in one space of
numbers, is one process for ever. Whoever cannot be sure that another has ended takes it to live.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol, final

import msgspec

PROC = Path("/proc")

_BORN_BITS = 41
"""Ticks of 10 ms since a boot, for seven hundred years; a number of a process on Linux needs the other 22 bits."""

_STAT_STATE, _STAT_BORN = 0, 19
"""Where /proc/PID/stat has the state and the tick of birth, behind the name, which may hold anything."""


class Process(msgspec.Struct, frozen=True):
    """One process, in numbers that a store's positions can hold.

    Attributes:
        machine: Stands for one boot of one machine, and the space in which its processes are numbered.
        life: Stands for the process among those.
    """

    machine: int
    life: int


class Processes(Protocol):
    """The processes of a machine, as one of them sees them."""

    @property
    def own(self) -> Process | None:
        """This one; None where nobody could tell it from another."""
        ...

    def has_ended(self, process: Process, /) -> bool:
        """Whether it is certain that a process, which ran on whatever machine, has ended."""
        ...


@final
class UnknownProcesses:
    """Those of a machine that does not tell: none has ended for certain.

    Example:
        >>> UnknownProcesses().has_ended(Process(machine=1, life=1))
        False
    """

    own: Process | None = None

    def has_ended(self, process: Process, /) -> bool:
        """Nobody knows."""
        del process
        return False


@final
class LinuxProcesses:
    """Those that /proc tells of.

    Example:
        >>> here = processes_of(machine="laptop")
        >>> here.own is None or not here.has_ended(here.own)
        True
    """

    def __init__(self, machine: str, *, proc: Path = PROC) -> None:
        """See who this process is.

        Args:
            machine: Its name, for those whose boots have one id, such as copies of one that slept.
            proc: Where the system tells of its processes.

        Raises:
            OSError: There is no /proc, or it does not tell.
            ValueError: It tells something else.
        """
        boot = (proc / "sys/kernel/random/boot_id").read_bytes()
        # Containers share a boot, and each numbers its processes from 1.
        spaces = [proc / "self/ns" / name for name in ("pid", "time")]
        found = [space.stat().st_ino for space in spaces if space.exists()]
        digest = hashlib.blake2b(repr((machine, boot, found)).encode(), digest_size=8).digest()
        self._proc = proc
        pid = os.getpid()
        self.own: Process | None = Process(int.from_bytes(digest) >> 1, pid << _BORN_BITS | self._born(pid))

    def has_ended(self, process: Process, /) -> bool:
        """Whether it ran on this machine, and does not any more."""
        if self.own is None or process.machine != self.own.machine:
            return False
        pid, born = process.life >> _BORN_BITS, process.life & ((1 << _BORN_BITS) - 1)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        with suppress(OSError, ValueError):
            return self._born(pid) != born
        # Somebody else's, whom /proc hides.
        return False

    def _born(self, pid: int) -> int:
        return born_of((self._proc / f"{pid}/stat").read_bytes())


def processes_of(machine: str, *, proc: Path = PROC) -> Processes:
    """The processes of this machine, as far as it tells of them.

    Args:
        machine: Its name.
        proc: Where it would.
    """
    try:
        return LinuxProcesses(machine, proc=proc)
    except (OSError, ValueError):
        return UnknownProcesses()


def born_of(stat: bytes) -> int:
    """At which tick a process began, from its /proc/PID/stat; 0 where it has ended and nobody has asked how.

    Raises:
        ValueError: It does not say so, as on systems that only look like Linux.

    Example:
        >>> born_of(b"7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0")
        4711
    """
    fields = stat.rpartition(b")")[2].split()
    if len(fields) <= _STAT_BORN:
        raise ValueError(f"expected the tick of birth in /proc/PID/stat, got {len(fields)} fields")
    return 0 if fields[_STAT_STATE] in {b"Z", b"X"} else int(fields[_STAT_BORN])
