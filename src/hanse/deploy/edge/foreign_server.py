"""The process that drives a program of others: it is driven by a socket of control, starts the program, and stops.

The program ends with it; should the program end by itself, it is started again with what it showed. All its processes
are started by way of here: so none is, once the end was asked for, and none is left behind, whoever wanted it and
however far it had come.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol, TypeVar, final

import msgspec

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import Driven, Question, Reply, control, done
from hanse.deploy.edge.renewal import Chain, chain_of, follow
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.tasks import Tasks

AGAIN_SECONDS, AGAIN_SECONDS_MAX = 0.1, 5.0
"""Before the program is started again, where it has not lived for long before; doubled each time, and at most."""

STEADY_SECONDS = 10.0
"""After which it has lived for long."""

_log = logging.getLogger("hanse.edge")


class Running(Protocol):
    """One process of a program."""

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        ...

    async def end(self) -> None:
        """End it at once."""
        ...


R = TypeVar("R", bound=Running)


class Foreign(Driven, Protocol):
    """An edge that is made of such a program."""

    async def start(self, ended: object = None) -> None:
        """Start a process that shows what is to be shown, unless another is there already.

        Args:
            ended: Instead of which; None for the first.
        """
        ...

    def is_current(self, process: object) -> bool:
        """Whether it is the process that takes connections."""
        ...

    async def tend(self) -> None:
        """Hear what it tells, and look after what it shows; never returns."""
        ...

    async def leave(self, grace: float) -> None:
        """Take nobody new, and wait for what is under way, for at most so many seconds."""
        ...


class Opened(msgspec.Struct, frozen=True):
    """An edge that has an address.

    Attributes:
        url: Where clients find it; its scheme is that of plain HTTP.
        edge: Whose first process is not there yet.
        renew: Has it show another certificate to whoever connects from then on.
        close: Has this process listen no more.
    """

    url: str
    edge: Foreign
    renew: Callable[[Chain], Awaitable[None]]
    close: Callable[[], None]


Opens = Callable[["ForeignServer", Chain | None], AbstractContextManager[Opened]]
"""Gives an edge its address and its first certificate, until it is left."""


@final
class ForeignServer:
    """Drives a program.

    Attributes:
        stopped: Set when a driver has asked for its end.
    """

    def __init__(self, title: str, place: Place, opens: Opens) -> None:
        """Listen nowhere yet.

        Args:
            title: What people call the program.
            place: Where, and how.
            opens: Makes the edge; given this, by which it has its processes started.
        """
        self.stopped: asyncio.Event = asyncio.Event()
        self._title = title
        self._place = place
        self._opens = opens
        self._grace = 0.0
        self._url = ""
        self._edge: Foreign | None = None
        self._tasks = Tasks(_failed)
        self._pause = 0.0
        self._starting: set[asyncio.Timeout] = set()
        self._running: list[Running] = []

    async def run(self) -> None:
        """Serve until a driver says stop, or this is cancelled.

        Raises:
            CouldNotStart: The address is taken, or the program does not start.
        """
        chain = chain_of(self._place) if self._place.certificate else None
        with self._opens(self, chain) as opened:
            self._edge = opened.edge
            self._url = opened.url.replace("http:", "https:", 1) if chain is not None else opened.url
            try:
                await self._serve(opened, chain)
            finally:
                self.stopped.set()
                await self._tasks.cancel()
                for process in self._running:
                    await process.end()
                for path in self._place.folder.glob("*.sock"):
                    path.unlink(missing_ok=True)

    async def _serve(self, opened: Opened, chain: Chain | None) -> None:
        await opened.edge.start()
        _ = self._tasks.start(opened.edge.tend())
        if chain is not None:
            _ = self._tasks.start(follow(self._place, chain, opened.renew))
        driven = await control(self._place.folder, self._done)
        _ = await self.stopped.wait()
        for limit in self._starting:
            limit.reschedule(asyncio.get_running_loop().time())
        opened.close()
        await opened.edge.leave(self._grace)
        driven.close()

    async def started(self, starting: Coroutine[Any, Any, R], lived: Callable[[R], Awaitable[int]]) -> R:
        """A process of the program, for which another is started where it ends by itself.

        Args:
            starting: Starts it, and ends it where it is cancelled.
            lived: Waits for its end; its exit code.

        Raises:
            Unavailable: The end was asked for, before or meanwhile.
        """
        gone = Unavailable(f"the edge is told to stop, and starts {self._title} no more")
        if self.stopped.is_set():
            starting.close()
            raise gone
        try:
            async with asyncio.timeout(None) as limit:
                self._starting.add(limit)
                try:
                    process = await starting
                finally:
                    self._starting.discard(limit)
        except TimeoutError:
            raise gone from None
        self._running = [*(one for one in self._running if one.lives), process]
        _ = self._tasks.start(self._watch(process, lived(process)))
        return process

    async def _watch(self, process: Running, lived: Awaitable[int]) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        code = await lived
        seconds = now() - began
        edge = self._edge
        while edge is not None and edge.is_current(process) and not self.stopped.is_set():
            _log.error("%s ended by itself with %s, and is started again", self._title, code)
            self._pause = pause_after(seconds, self._pause)
            await asyncio.sleep(self._pause)
            seconds = 0.0
            with suppress(Fault):
                await edge.start(process)
                return

    async def _done(self, asked: Question) -> Reply:
        assert self._edge is not None
        match asked.do:
            case "hello":
                return Reply(url=self._url, pid=os.getpid())
            case "stop":
                self._grace = asked.seconds
                self.stopped.set()
                return Reply()
            case _:
                return await done(self._edge, asked)


def pause_after(lived: float, before: float) -> float:
    """How long to wait before a program is started again.

    Args:
        lived: How long it ran, in seconds; 0 where it did not start.
        before: How long was waited before that.

    Returns:
        Seconds: none after the first end.

    Example:
        >>> pauses = [0.0]
        >>> for lived in (60.0, 0.2, 0.0, 0.0, 60.0):
        ...     pauses.append(pause_after(lived, pauses[-1]))
        >>> pauses
        [0.0, 0.0, 0.1, 0.2, 0.4, 0.0]
    """
    return 0.0 if lived >= STEADY_SECONDS else min(max(2.0 * before, AGAIN_SECONDS), AGAIN_SECONDS_MAX)


def _failed(error: BaseException) -> None:
    _log.error("the edge looks after nothing any more", exc_info=error)
