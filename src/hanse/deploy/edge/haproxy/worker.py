"""One process of HAProxy: started with all that it shows, told of changes, and let go when another has taken over."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from hanse.deploy.edge.foreign_process import answers, end, launched, put, said_in
from hanse.deploy.edge.haproxy.config import Files
from hanse.deploy.edge.haproxy.layout import Slot
from hanse.deploy.edge.haproxy.runtime import Standing, ask, renew, standings, tell
from hanse.kernel.faults import CouldNotStart, Unavailable

LEAVE_SECONDS = 10.0
"""That a process has to take no more connections."""

LOOK_SECONDS = 0.01
"""Between two looks at whether it does."""

SAID = "haproxy.log"
"""What HAProxy says of itself, since its last start."""

_SAID_MAX = 20
_TAKES = "\nStopping: 0"


@final
class Worker:
    """A process of HAProxy.

    Attributes:
        process: The process.
    """

    def __init__(self, folder: Path, socket_name: str, process: asyncio.subprocess.Process) -> None:
        """Know a process that was started.

        Args:
            folder: Where its socket is.
            socket_name: Name of that.
            process: Which.
        """
        self.process: asyncio.subprocess.Process = process
        self._socket = folder / socket_name
        self._leaving = False

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    async def tell(self, commands: Sequence[str]) -> list[str]:
        """Give commands; those that were refused."""
        return await tell(self._socket, commands)

    async def renew(self, name: str, text: str) -> None:
        """Show another certificate; see `hanse.deploy.edge.haproxy.runtime.renew`."""
        await renew(self._socket, name, text)

    async def standings(self) -> dict[Slot, Standing]:
        """How its slots are; none where it has ended."""
        if not self.lives:
            return {}
        try:
            return await standings(self._socket)
        except Unavailable:
            # One that was let go may end at any moment.
            if not self._leaving and self.process.returncode is None:
                raise
            return {}

    async def leave(self) -> None:
        """Take no new connections, end those that are idle with their next answer, and end when none is left.

        Returns when it takes none any more.
        """
        self._leaving = True
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGUSR1)
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                while self.lives and _TAKES in await ask(self._socket, "show info"):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(LOOK_SECONDS)

    async def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        code = await self.process.wait()
        self._socket.unlink(missing_ok=True)
        return code

    async def end(self) -> None:
        """End it at once."""
        await end(self.process)


async def started(program: str, folder: Path, inherited: Sequence[int], files: Files, socket_name: str) -> Worker:
    """A process that takes connections.

    Raises:
        CouldNotStart: It refuses its configuration, or does not come; says why.
    """
    for name, text in files.texts.items():
        put(folder, name, text.encode(errors="surrogateescape"))
    command = [program, "-db", "-f", "haproxy.cfg"]
    worker = Worker(folder, socket_name, await launched(command, folder, SAID, inherited))
    if await answers(worker.process, lambda: ask(folder / socket_name, "show version")):
        return worker
    raise CouldNotStart(f"HAProxy could not start: {_why(folder)}")


def _why(folder: Path) -> str:
    said = said_in(folder, SAID)
    alerts = [line.partition(") : ")[2] or line for line in said if "ALERT" in line]
    return "; ".join((alerts or said)[:_SAID_MAX]) or f"it said nothing; see {folder / SAID}"
