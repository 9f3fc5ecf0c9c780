"""What HAProxy tells of requests that are over: lines, through a pipe.

A pipe holds thousands of lines for whoever reads it late. A socket of datagrams would hold as many as the machine says,
which may be ten, and HAProxy waits for nobody: what does not fit is told to no one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self, final

LINE_BYTES_MAX = 4_096
"""Longest line: what several processes write into one pipe stays whole up to here (POSIX, `PIPE_BUF`, on Linux)."""

HELD_BYTES = 1024 * 1024
"""That a pipe holds; no more is given to users who are not root."""

READS_MAX = 64
"""Of a pipe at once."""

_SET_SIZE: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)


@final
class LogPipe:
    r"""Lines that HAProxy has written and nobody has read yet.

    Attributes:
        end: The end that HAProxy writes to, a file descriptor.

    Example:
        >>> with LogPipe() as told:
        ...     _ = os.write(told.end, b"one\ntwo\nth")
        ...     found = list(told.lines())
        ...     _ = os.write(told.end, b"ree\n")
        ...     found += told.lines()
        >>> found
        ['one', 'two', 'three']
    """

    def __init__(self) -> None:
        """Open both ends."""
        reads, writes = os.pipe()
        self._reads: int = reads
        self.end: int = writes
        os.set_blocking(reads, False)
        self._rest: bytes = b""
        if _SET_SIZE is not None:
            with suppress(OSError):  # where others of this user hold all that they may
                _ = fcntl.fcntl(self.end, _SET_SIZE, HELD_BYTES)

    def fileno(self) -> int:
        """The end that is read, for whoever waits until there is something."""
        return self._reads

    def lines(self) -> Iterator[str]:
        """What has been told since, in whole lines."""
        for _ in range(READS_MAX):
            try:
                found = os.read(self._reads, HELD_BYTES)
            except BlockingIOError:
                return
            *whole, self._rest = (self._rest + found).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close both ends."""
        os.close(self._reads)
        os.close(self.end)
