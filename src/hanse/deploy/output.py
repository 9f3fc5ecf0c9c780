"""What processes print: split into lines, cleaned, dated, and kept in files of a limited size.

A process that prints without end neither waits nor fills a memory or a disk: what is more than so much in a second is
skipped and counted, a line has a longest length, and files are rotated.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import final

LINE_BYTES_MAX = 16 * 1024
"""Longest line; the rest of it is one more."""

FLOOD_BYTES_MAX = 4 * 1024 * 1024
"""What one process may print in a second; lines beyond it are counted and skipped."""

FILE_BYTES_MAX = 10 * 1024 * 1024
"""Size at which a file is put aside."""

FILES_MAX = 5
"""Files that were put aside and are kept, of each service."""

TAIL_LINES, TAIL_CHARACTERS = 20, 500
"""Last lines that are told of a process that has ended, and how much of each."""

_UNPRINTABLE = re.compile("\x1b(?!\\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\x80-\x9f]")
"""What a terminal would obey; colours alone are let through."""


@final
class Lines:
    r"""Bytes as they come, as lines.

    Example:
        >>> lines = Lines()
        >>> lines.feed(b"one\ntw"), lines.feed(b"o\r\n\xff"), lines.rest()
        (['one'], ['two'], ['\\xff'])
    """

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        found = [line for one in whole for line in _cut(one)]
        if len(self._partial) > LINE_BYTES_MAX:
            found += _cut(self._partial)
            self._partial = b""
        return found

    def rest(self) -> list[str]:
        """What came without an end of its line."""
        partial, self._partial = self._partial, b""
        return _cut(partial) if partial else []


def _cut(line: bytes) -> list[str]:
    pieces = [line[at : at + LINE_BYTES_MAX] for at in range(0, len(line), LINE_BYTES_MAX)] or [b""]
    return [clean(piece) for piece in pieces]


def clean(line: bytes) -> str:
    """A line as text that does nothing to a terminal but colour it."""
    text = line.rstrip(b"\r").decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


@final
class LogFile:
    """A file of lines that is put aside when it is large, as `NAME.1`, and so on.

    A disk that is full loses lines and nothing else; how many is said once there is room.
    """

    def __init__(self, path: Path, *, bytes_max: int = FILE_BYTES_MAX, files_max: int = FILES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._lost = 0
        self._size = 0
        self._fd = -1

    def write(self, lines: list[str]) -> None:
        """Add lines; whatever goes wrong, nothing is raised."""
        if self._lost:
            lines = [f"{self._lost} lines could not be written", *lines]
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        try:
            if self._fd >= 0 and self._size and self._size + len(data) > self._bytes_max:
                self._put_aside()
            if self._fd < 0:
                self._open()
            written = os.write(self._fd, data)
        except OSError:
            self._lost += len(lines) - (1 if self._lost else 0)
            return
        self._size += written
        self._lost = 0 if written == len(data) else data[written:].count(b"\n")

    def close(self) -> None:
        """Write no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _put_aside(self) -> None:
        self.close()
        for number in range(self._files_max, 0, -1):
            older = self._path if number == 1 else aside(self._path, number - 1)
            if older.exists():
                older.replace(aside(self._path, number))


def aside(path: Path, number: int) -> Path:
    """Where a file is put aside; the higher the number, the older."""
    return path.with_name(f"{path.name}.{number}")


@final
class Output:
    """What one process prints, on its way to a file.

    Args of the constructor:
        fd: Reading end of its pipe; closed by `close`, and -1 then.
        label: Name of the process, before each of its lines.
        file: Where they go; several processes may share it.
        now: The wall clock.
    """

    def __init__(self, fd: int, label: str, file: LogFile, now: Callable[[], float]) -> None:
        self.fd: int = fd
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._label = label
        self._file = file
        self._now = now
        self._lines = Lines()
        self._second = 0
        self._bytes = 0
        self._skipped = 0

    def take(self, data: bytes) -> None:
        """Keep what was printed, or count it where it is too much."""
        now = self._now()
        if int(now) != self._second:
            self._second, self._bytes = int(now), 0
        self._bytes += len(data)
        if self._bytes > FLOOD_BYTES_MAX:
            self._skipped += data.count(b"\n")
            return
        if self._skipped:
            self._keep([f"{self._skipped} lines skipped: more than {FLOOD_BYTES_MAX // 1024**2} MiB in a second"], now)
            self._skipped = 0
        self._keep(self._lines.feed(data), now)

    def close(self) -> None:
        """Keep what is left, and read no more."""
        os.close(self.fd)
        self.fd = -1
        rest = self._lines.rest()
        if self._skipped:
            rest.append(f"{self._skipped} lines skipped: more than {FLOOD_BYTES_MAX // 1024**2} MiB in a second")
        self._keep(rest, self._now())

    def _keep(self, lines: list[str], now: float) -> None:
        if lines:
            self.tail.extend(line[:TAIL_CHARACTERS] for line in lines[-TAIL_LINES:])
            head = f"{stamp(now)} {self._label} "
            self._file.write([head + line for line in lines])


def stamp(now: float) -> str:
    """A moment, as lines of logs begin with it.

    Example:
        >>> stamp(0.25)
        '1970-01-01T00:00:00.250Z'
    """
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
