"""Breaks off connections of another process, which has no verb for it: Linux lets its parent end them."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PIDFD_GETFD = 438
"""The number of the system call, the same on all kinds of machines; see `man 2 pidfd_getfd`."""


def cut_off(pid: int, places: Collection[tuple[str, int]]) -> int:
    """Shut down all connections of a process that lead to one of these places.

    Args:
        pid: A child of this process.
        places: Addresses and ports at the other end.

    Returns:
        How many there were; none where the system does not let us, such as before Linux 5.6.
    """
    count = 0
    with suppress(OSError, AttributeError):
        process = os.pidfd_open(pid)
        try:
            for path in Path(f"/proc/{pid}/fd").iterdir():
                count += _is_cut(process, path, places)
        finally:
            os.close(process)
    return count


def _is_cut(process: int, path: Path, places: Collection[tuple[str, int]]) -> bool:
    with suppress(OSError):
        if not str(path.readlink()).startswith("socket:"):
            return False
        copy = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, int(path.name), 0)
        if copy < 0:
            return False
        with socket.socket(fileno=copy) as connection:
            if connection.family in {socket.AF_INET, socket.AF_INET6} and connection.getpeername()[:2] in places:
                connection.shutdown(socket.SHUT_RDWR)
                return True
    return False
