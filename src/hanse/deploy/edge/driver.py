"""Drives the process of an edge, from another one: what all engines have in common."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Features, Place
from hanse.deploy.edge.driven import FAILED, LINE_BYTES_MAX, SOCKET, Question, Reply
from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.tasks import Tasks

START_SECONDS = 15.0
"""That the process has to listen."""

ANSWER_SECONDS = 5.0
"""That it has for an answer, beside what it is asked to wait."""

_LOOK_SECONDS = 0.01


class Launched(Protocol):
    """A process that was started."""

    async def wait(self) -> int:
        """Wait for its end; its exit code."""
        ...


Launch = Callable[[Sequence[str]], Awaitable[Launched]]
"""Starts a command."""


async def launch(command: Sequence[str]) -> Launched:
    """Start a command as a child of this process."""
    return await asyncio.create_subprocess_exec(*command)


class Driver:
    """An engine whose edge is a process of its own, which outlives whoever started it.

    See `hanse.deploy.edge.base.Engine` for what its verbs promise. Engines differ in what they run, and what that can.

    Attributes:
        features: What it can do.
        pid: Of its process, once it has started.
    """

    def __init__(
        self, features: Features, place: Place, arguments: Callable[[str], Sequence[str]], starts: Launch = launch
    ) -> None:
        """Know where it is to be.

        Args:
            features: What it can do.
            place: Where, and how.
            arguments: Of Python, to run it in a place, which is given as JSON; asked when it is to start.
            starts: Starts its process; by default as a child of this one.
        """
        self.features: Features = features
        self.pid: int = 0
        self._place = place
        self._arguments = arguments
        self._starts = starts
        self._launched: Launched | None = None

    @property
    def command(self) -> list[str]:
        """What runs it.

        Raises:
            CouldNotStart: What it needs is missing.
        """
        place = msgspec.json.encode(self._place, enc_hook=str).decode()
        return [sys.executable, *self._arguments(place)]

    async def start(self) -> str:
        """See `Engine`."""
        self._place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(Unavailable):
            return await self._hello()
        failed = self._place.folder / FAILED
        failed.unlink(missing_ok=True)
        self._launched = launched = await self._starts(self.command)
        async with Tasks(_ignored) as tasks:
            return await self._listening(failed, tasks.start(launched.wait()))

    async def _hello(self) -> str:
        reply = await self._ask(Question(do="hello"))
        self.pid = reply.pid
        return reply.url

    async def _listening(self, failed: Path, ended: asyncio.Task[int]) -> str:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not ended.done():
                    with suppress(Unavailable):
                        return await self._hello()
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise CouldNotStart(f"the edge did not listen within {START_SECONDS:g} s; see its log") from None
        raise CouldNotStart(f"the edge could not start: {_why(failed)}")

    async def apply(self, table: Table) -> None:
        """See `Engine`."""
        reply = await self._ask(Question(do="apply", table=table))
        if reply.problem:
            raise Misconfigured(reply.problem)

    async def figures(self) -> Figures:
        """See `Engine`."""
        figures = (await self._ask(Question(do="figures"))).figures
        if figures is None:
            raise Unavailable("the edge told no figures; it is of another version")
        return figures

    async def pairs(self) -> Pairs:
        """See `Engine`."""
        return (await self._ask(Question(do="pairs"))).pairs or Pairs()

    async def drained(self, server: str, timeout: float) -> bool:
        """See `Engine`."""
        return (await self._ask(Question(do="drained", server=server, seconds=timeout))).done

    async def cut(self, server: str) -> int:
        """See `Engine`."""
        return (await self._ask(Question(do="cut", server=server))).count

    async def stop(self, grace: float) -> None:
        """See `Engine`."""
        with suppress(Unavailable):
            _ = await self._ask(Question(do="stop", seconds=grace))
        if self._launched is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace + ANSWER_SECONDS):
                    _ = await self._launched.wait()

    async def _ask(self, question: Question) -> Reply:
        path = self._place.folder / SOCKET
        try:
            async with asyncio.timeout(question.seconds + ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
                try:
                    writer.write(msgspec.json.encode(question) + b"\n")
                    return msgspec.json.decode(await reader.readuntil(b"\n"), type=Reply)
                finally:
                    writer.close()
        except (OSError, TimeoutError, EOFError, msgspec.DecodeError) as error:
            raise Unavailable(f"the edge at {path} does not answer: {str(error) or type(error).__name__}") from None


def _why(failed: Path) -> str:
    """What a process that could not start has left."""
    try:
        return msgspec.json.decode(failed.read_bytes(), type=str)
    except (OSError, msgspec.DecodeError):
        return "see its log"


def _ignored(_: BaseException) -> None:
    """Whoever waits for it sees how it ended."""
