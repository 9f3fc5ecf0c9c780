"""Whether the system kills processes because memory runs out, as Linux counts it.

A process is not told why it was killed, and its parent is told only that it was. But the kernel counts those whom it
kills for memory, of the whole machine and of all limits on it. So a process that is killed, by nobody whom we know,
while that count moves, was one of them; whoever kills it by hand just when another process is killed for memory
is taken for the system. Other systems do not count, and there nobody is known to have been killed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import final

from hanse.deploy.linux import PROC
from hanse.kernel.host import Host

LATELY_SECONDS = 2.0
"""How long after the kernel has counted one an end is taken to be that: a keeper tells of it within less."""

_NAME = b"oom_kill"


def killed_for_memory(*, proc: Path = PROC) -> int:
    """How many processes were killed as memory had run out, since the machine started; 0 where nobody counts.

    Args:
        proc: Where the kernel tells.
    """
    with suppress(OSError, ValueError):
        for line in (proc / "vmstat").read_bytes().splitlines():
            name, _, count = line.partition(b" ")
            if name == _NAME:
                return int(count)
    return 0


@final
class Starving:
    """Notices when somebody has been killed for memory.

    Example:
        >>> Starving(Host.system()).lately()
        False
    """

    def __init__(self, host: Host, *, proc: Path = PROC) -> None:
        """Begin with what has been counted so far.

        Args:
            host: Its clock.
            proc: Where the kernel tells.
        """
        self._host = host
        self._proc = proc
        self._known = killed_for_memory(proc=proc)
        self._until = self._host.monotonic()

    def lately(self) -> bool:
        """Whether somebody was, within `LATELY_SECONDS` or since this was asked last."""
        known, now = killed_for_memory(proc=self._proc), self._host.monotonic()
        if known > self._known:
            self._known, self._until = known, now + LATELY_SECONDS
        return now < self._until
