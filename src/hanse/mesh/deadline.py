"""Ends handlers at their deadlines, with one timer for all of them.

A timer per call would cost as much as the call. Here a running handler is an entry in a dictionary, and one timer
waits for the nearest deadline known; most handlers are long gone by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from hanse.kernel.context import FOREVER, Context
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.transport.lot import Worker

RECANCEL_SECONDS = 1.0
"""How long after a cancellation a handler that swallowed it is cancelled again."""


class Deadlines:
    """The handlers that are running, and the one timer that ends those whose time is over.

    Attributes:
        inside: Whoever begins in the task of its caller puts itself here, and whoever ends is deleted.
        working: The workers that handle what others ask, by their tasks; each has the context of what it handles.
        nearest: Second on the host's clock at which somebody is ended; whoever has to end before says so.
        loop: The one that handlers run on; None before the first one.
    """

    __slots__ = ("_host", "_timer", "inside", "loop", "nearest", "working")

    def __init__(self, host: Host) -> None:
        self.inside: dict[Context, None] = {}
        self.working: dict[object, Worker] = {}
        self._host = host
        self.nearest: float = FOREVER
        self._timer: asyncio.TimerHandle | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self.inside) + len(self.working)

    @property
    def running(self) -> Iterator[Context]:
        """The handlers that are running, those that run inside others behind them."""
        for worker in self.working.values():
            if worker.context is not None:
                yield worker.context
        yield from self.inside

    def __contains__(self, context: Context) -> bool:
        """Whether a handler is running."""
        worker = self.working.get(context.task)
        return context in self.inside or (worker is not None and worker.context is context)

    def begin(self) -> asyncio.AbstractEventLoop:
        """The running loop, which is kept: to ask for it costs much, as CPython 3.11 asks for the process id."""
        self.loop = asyncio.get_running_loop()
        return self.loop

    def close(self) -> None:
        """No handler is left to be ended."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.nearest, self.loop = None, FOREVER, None

    def wait_for(self, deadline: float, least: float = 0.0) -> None:
        """Look at this second on the host's clock, in `least` seconds at the earliest."""
        if self._timer is not None:
            self._timer.cancel()
        self.nearest = deadline
        delay = max(least, deadline - self._host.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer, self.nearest = None, FOREVER
        now = self._host.monotonic()
        for context in overdue(self.running, now):
            context.expired += 1
            context.again = now + RECANCEL_SECONDS
            assert context.task is not None
            context.task.cancel()
        waiting = [
            context.again if context.expired else context.deadline
            for context in self.running
            if context.deadline > now or context.expired
        ]
        if waiting and (nearest := min(waiting)) < FOREVER:
            self.wait_for(nearest, TICK_SECONDS)


def overdue(running: Iterable[Context], now: float) -> list[Context]:
    """The handlers to end: of those that run inside one another, in one task, only the outermost.

    The ones inside have no more time than the one outside, and are cancelled with it; cancelling a task once per
    handler would leave it cancelled after the outermost had answered. One that was cancelled has `RECANCEL_SECONDS` to
    clean up, whoever else's time is over meanwhile.
    """
    outermost: dict[object, Context] = {}
    for context in running:
        if context.deadline <= now:
            outermost.setdefault(context.task, context)
    return [context for context in outermost.values() if context.again <= now]
