"""Reads what services have printed, and follows what they print: lines of files that are put aside when they are large.

Files are read by whoever asks, with or without a system that runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import final

import msgspec

from hanse.deploy.output import FILES_MAX, aside

READ_BYTES = 1024 * 1024
"""Read at once of one file that is followed; the rest comes with the next look."""


class LogLine(msgspec.Struct, frozen=True):
    """A line that an instance printed.

    Attributes:
        at: When, as `2026-01-31T12:00:00.000Z`.
        instance: Who.
        text: What.
    """

    at: str
    instance: str
    text: str


def parsed(line: str) -> LogLine:
    """A line of a file.

    Example:
        >>> parsed("2026-01-31T12:00:00.000Z web-1 up and running").text
        'up and running'
    """
    at, _, rest = line.partition(" ")
    instance, _, text = rest.partition(" ")
    return LogLine(at, instance, text)


def services_in(logs: Path) -> list[str]:
    """The services that have printed something."""
    with suppress(OSError):
        return sorted(path.name.removesuffix(".log") for path in logs.iterdir() if path.name.endswith(".log"))
    return []


def lines_of(paths: Iterable[Path], since: str = "") -> list[LogLine]:
    """All lines that are kept, in the order in which they were printed.

    Args:
        paths: Of the files of some services.
        since: A moment, as lines have it; older ones are left out.
    """
    found = [line for path in paths for line in _kept(path) if line.at >= since]
    return sorted(found, key=lambda line: line.at)


def _kept(path: Path) -> Iterator[LogLine]:
    for one in (*(aside(path, number) for number in range(FILES_MAX, 0, -1)), path):
        with suppress(FileNotFoundError), one.open(encoding="utf-8", errors="replace", newline="\n") as file:
            yield from (parsed(line.rstrip("\n")) for line in file)


@final
class Follower:
    """Tells what is new in files, look by look.

    Args of the constructor:
        logs: The folder; files that come later are followed from their beginning.
        services: Whose; empty for all.
        from_end: Whether what is there already is left out.
    """

    def __init__(self, logs: Path, services: Iterable[str] = (), *, from_end: bool = True) -> None:
        self._logs = logs
        self._services = frozenset(services)
        self._files: dict[str, _Followed] = {}
        for name in self._names() if from_end else ():
            followed = self._files[name] = _Followed(logs / f"{name}.log")
            followed.skip()

    def look(self) -> list[LogLine]:
        """What is new since the last look, in the order in which it was printed."""
        found: list[LogLine] = []
        for name in self._names():
            if name not in self._files:
                self._files[name] = _Followed(self._logs / f"{name}.log")
            found += self._files[name].look()
        return sorted(found, key=lambda line: line.at)

    def close(self) -> None:
        """Follow no more."""
        for followed in self._files.values():
            followed.close()

    def _names(self) -> list[str]:
        return [name for name in services_in(self._logs) if not self._services or name in self._services]


class _Followed:
    """One file, and whatever takes its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._partial = b""

    def skip(self) -> None:
        self._open()
        if self._fd >= 0:
            _ = os.lseek(self._fd, 0, os.SEEK_END)

    def look(self) -> Iterator[LogLine]:
        if self._fd < 0:
            self._open()
        if self._fd < 0:
            return
        data = os.read(self._fd, READ_BYTES)
        if not data and self._was_put_aside():
            # What came before it was put aside has been read; now for the file in its place.
            self.close()
            self._open()
            data = os.read(self._fd, READ_BYTES) if self._fd >= 0 else b""
        *whole, self._partial = (self._partial + data).split(b"\n")
        yield from (parsed(line.decode("utf-8", "replace")) for line in whole)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        with suppress(OSError):
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _was_put_aside(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(self._fd).st_ino
        except OSError:
            return False
