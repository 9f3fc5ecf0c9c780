"""Tasks that handle one message after the other, so that a handler that does not wait costs no task of its own.

A worker is an ordinary task: cancelling it, time limits and task groups work within a handler as anywhere. Where a
handler waits, its worker waits with it, and in the same turn of the loop another takes the next message; so handlers
run side by side. Each begins in the same context: where one leaves variables behind, its worker ends with it, as to
compare two contexts costs a tenth of what it costs to run each handler in one of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Final, Generic, Protocol, TypeVar, cast, final

from hanse.kernel.faults import Overloaded
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer, Handle

IDLE_MAX: Final = 256
"""Workers that wait for messages; others end once they have nothing to do."""

Key = TypeVar("Key", bound=Hashable)


class Asker(Protocol[Key]):
    """Somebody for whom messages are handled, each under a key, such as a number."""

    running: dict[Key, asyncio.Task[None] | None]
    """What is to be handled; the task that does, once it has begun. What is gone is wanted no more."""

    def handled(self, key: Key, message: Message, answer: Answer | None, /) -> None:
        """A message was handled, or its task was cancelled, and there is no answer."""
        ...


@final
class Workers(Generic[Key]):
    """Handle messages, in the order in which they come, side by side."""

    __slots__ = ("_context", "_idle", "_loop", "_queue", "_tasks", "_waking")

    def __init__(self, tasks: Tasks) -> None:
        """Start with no workers.

        Args:
            tasks: Owns them; its limit is how many handlers run at once, and further messages wait.
        """
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        # Not that of whoever made the connection: it may be a handler's.
        self._context = contextvars.copy_context()
        self._queue: deque[tuple[Asker[Key], Key, Message, Handle]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._waking = False

    def put(self, asker: Asker[Key], key: Key, message: Message, handle: Handle) -> None:
        """Have a message handled, in the next turn of the loop.

        Args:
            asker: Who is told of it.
            key: The asker's, and `running` there.
            message: What is handled.
            handle: Handles it.
        """
        self._queue.append((asker, key, message, handle))
        if not self._waking:
            self._waking = True
            self._wake()

    def put_all(self, items: Iterable[tuple[Asker[Key], Key, Message, Handle]]) -> None:
        """Have messages handled, in the next turn of the loop: see `put`."""
        self._queue.extend(items)
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
            try:
                worker = self._context.run(self._tasks.start, self._work())
            except Overloaded:
                # Each that works at the moment takes more when it is done.
                self._waking = False
                return
            worker.add_done_callback(self._ended)
        self._loop.call_soon(self._check)

    def _check(self) -> None:
        if self._queue:
            self._wake()
        else:
            self._waking = False

    async def _work(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        queue, idle, context = self._queue, self._idle, self._context
        now, cancelling = contextvars.copy_context, task.cancelling
        while True:
            while queue:
                asker, key, message, handle = queue.popleft()
                running = asker.running
                if key not in running:
                    continue
                running[key] = task
                answer: Answer | None = None
                try:
                    answer = await handle(message, task)
                finally:
                    del running[key]
                    asker.handled(key, message, answer)
                try:
                    clean = now() == context
                except Exception:  # noqa: BLE001 - values of others are compared, and may not be comparable
                    clean = False
                if not clean or cancelling():
                    return  # A cancellation that was swallowed, and what was set, must not reach the next handler.
            if len(idle) >= IDLE_MAX:
                return
            future: asyncio.Future[None] = self._loop.create_future()
            idle.append(future)
            await future

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A worker has ended, and counts no more: where there is more to do, there may be room for another."""
        del task
        self._check()
