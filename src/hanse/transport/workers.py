"""Tasks that handle one message after the other, so that a handler that does not wait costs no task of its own.

A worker is an ordinary task: cancelling it, time limits and task groups work within a handler as anywhere. Where a
handler waits, its worker waits with it, and in the same turn of the loop another goes on with the lot; so handlers run
side by side. Each begins in the same context: where one leaves variables behind, its worker ends with it, as to compare
two contexts costs a tenth of what it costs to run each handler in one of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Any, Final, cast, final

from hanse.kernel.faults import Overloaded
from hanse.kernel.tasks import Tasks
from hanse.transport.lot import Lot, Worker

IDLE_MAX: Final = 256
"""Workers that wait for messages; others end once they have nothing to do."""


@final
class Workers:
    """Handle messages, in the order in which they come, side by side."""

    __slots__ = ("_clean", "_idle", "_loop", "_lots", "_tasks", "_waking")

    def __init__(self, tasks: Tasks) -> None:
        """Start with no workers.

        Args:
            tasks: Owns them; its limit is how many handlers run at once, and further messages wait.
        """
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        # Not that of whoever made the connection: it may be a handler's.
        self._clean = contextvars.copy_context()
        self._lots: deque[Lot[Any]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._waking = False

    def put(self, lot: Lot[Any]) -> None:
        """Have messages handled, in the next turn of the loop; what is taken out of a lot until then does not begin."""
        self._lots.append(lot)
        if not self._waking:
            self._waking = True
            self._wake()

    def _wake(self) -> None:
        """Have one worker look, and look after it: if it came to wait for something, others take the rest."""
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                break
        else:
            context = self._clean.copy()
            try:
                worker = self._tasks.start(self._work(context), context=context)
            except Overloaded:
                # Each that works at the moment takes more when it is done.
                self._waking = False
                return
            worker.add_done_callback(self._ended)
        self._loop.call_soon(self._check)

    def _check(self) -> None:
        while self._lots and not self._lots[0].asks:
            _ = self._lots.popleft()
        if self._lots:
            self._wake()
        else:
            self._waking = False

    async def _work(self, context: contextvars.Context) -> None:
        worker = Worker(cast("asyncio.Task[Any]", asyncio.current_task()), context, self._clean)
        lots, idle = self._lots, self._idle
        while True:
            while lots:
                lot = lots[0]
                if not lot.asks:
                    _ = lots.popleft()
                    continue
                try:
                    await lot.handle(lot, worker)
                except Exception:
                    if worker.fit:
                        raise  # whoever handles broke its promise; else variables could not even be compared
                if not worker.fit:
                    return
            if len(idle) >= IDLE_MAX:
                return
            future: asyncio.Future[None] = self._loop.create_future()
            idle.append(future)
            await future

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A worker has ended, and counts no more: where there is more to do, there may be room for another."""
        del task
        self._check()
