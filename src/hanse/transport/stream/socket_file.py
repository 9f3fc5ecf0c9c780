"""Socket files in a folder: made so that whoever sees one can connect to it, and removed when their process is dead.

A file appears under its name only once its socket listens, so one that refuses connections has no process behind it.
Whoever replaces or removes one holds the folder's lock: two that start at once cannot take each other's file away.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

from hanse.kernel.faults import CouldNotStart

FILE_MODE: Final = 0o600
"""The user alone: whoever can connect can call everything."""

FOLDER_MODE: Final = 0o700

BACKLOG: Final = 1_024
"""Connections that wait until they are taken."""

PATH_BYTES_MAX: Final = 103
"""Of a path that every system takes for a socket: four fewer than Linux."""

LOCK_TRIES: Final = 200
LOCK_SECONDS: Final = 0.01
"""How often, and how far apart, the lock of a folder is tried: it is held for some microseconds."""


async def listen_at(path: Path) -> socket.socket:
    """A socket that listens at a path, for this user alone.

    Raises:
        CouldNotStart: Another process listens there, the path is too long or is no socket, or it must not be written.
    """
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        async with _locked(path.parent):
            return _listening(path)
    except OSError as error:
        raise CouldNotStart(f"cannot listen at {path}: {error.strerror or error}") from None


def _listening(path: Path) -> socket.socket:
    if path.exists() and not path.is_socket():
        raise CouldNotStart(f"{path} is a file, and no socket; name another path, or a folder")
    if is_alive(path):
        raise CouldNotStart(f"another process listens at {path}; name another path, or end it")
    # Nobody is to see it before it listens.
    beside = path.with_name(f".{path.name}")
    beside.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.settimeout(0)
        with short(beside) as name:
            listening.bind(name)
        beside.chmod(FILE_MODE)
        listening.listen(BACKLOG)
        beside.rename(path)
    except BaseException:
        listening.close()
        beside.unlink(missing_ok=True)
        raise
    return listening


@contextlib.contextmanager
def short(path: Path) -> Generator[str]:
    """A path to the same socket that systems take for one, while this is entered: by way of its folder, if it is long.

    Folders of projects and of tests are often too deep for the hundred bytes that an address of a socket has.
    """
    if len(os.fsencode(path)) <= PATH_BYTES_MAX or sys.platform != "linux":
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def is_alive(path: Path) -> bool:
    """Whether a process listens at a path."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            with short(path) as name:
                probe.connect(name)
        except OSError as error:
            # One that has no room for another connection at the moment listens.
            return error.errno == errno.EAGAIN
        return True


async def remove_dead(folder: Path, suffix: str) -> None:
    """Remove the socket files of processes that are dead."""
    if dead := _dead(folder, suffix):
        with contextlib.suppress(OSError, CouldNotStart):  # Somebody else's files are no reason not to start.
            async with _locked(folder):
                for path in dead:
                    if not is_alive(path):
                        path.unlink(missing_ok=True)


def _dead(folder: Path, suffix: str) -> list[Path]:
    return [path for path in in_folder(folder, suffix) if not is_alive(path)]


def in_folder(folder: Path, suffix: str) -> list[Path]:
    """The socket files in a folder, in order."""
    return sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith(".") and path.is_socket())


def own(path: Path) -> tuple[Path, int]:
    """What `remove_own` has to know of a file that this process made."""
    return path, path.stat().st_ino


def remove_own(path: Path, inode: int) -> None:
    """Remove a socket file, unless it has become another's."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


@contextlib.asynccontextmanager
async def _locked(folder: Path) -> AsyncGenerator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(LOCK_SECONDS)
        else:
            raise CouldNotStart(f"another process holds the lock of {folder}; see who with `lsof {folder}`")
        yield
    finally:
        os.close(descriptor)
