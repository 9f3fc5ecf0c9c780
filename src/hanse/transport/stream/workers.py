"""Tasks that handle one message after the other, so that a handler that does not wait costs no task of its own.

A worker is an ordinary task: cancelling it, time limits and task groups work within a handler as anywhere. Where a
handler waits, its worker waits with it, and in the same turn of the loop another takes the next message; so handlers
run side by side. Each handler has a fresh copy of one context: what it sets, the next one does not see.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Final, Protocol, cast, final

from hanse.kernel.faults import Overloaded
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks

IDLE_MAX: Final = 256
"""Workers that wait for messages; others end once they have nothing to do."""

Handle = Callable[[Message], Awaitable[Message]]


class Asker(Protocol):
    """Somebody for whom messages are handled, each under a number."""

    running: dict[int, asyncio.Task[None] | None]
    """What is to be handled; the task that does, once it has begun. A number that is gone is wanted no more."""

    def handled(self, number: int, message: Message, reply: Message | None, /) -> None:
        """A message was handled, or its task was cancelled, and there is no reply."""
        ...


@final
class Workers:
    """Handle messages, in the order in which they come, side by side."""

    __slots__ = ("_context", "_handle", "_idle", "_loop", "_queue", "_tasks", "_waking")

    def __init__(self, tasks: Tasks, handle: Handle) -> None:
        """Start with no workers.

        Args:
            tasks: Owns them; its limit is how many handlers run at once, and further messages wait.
            handle: Handles a message. It raises nothing but its cancellation.
        """
        self._tasks = tasks
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        # Not that of whoever made the connection: it may be a handler's.
        self._context = contextvars.copy_context()
        self._queue: deque[tuple[Asker, int, Message]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._waking = False

    def put(self, asker: Asker, number: int, message: Message) -> None:
        """Have a message handled, in the next turn of the loop."""
        self._queue.append((asker, number, message))
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
                _ = self._context.run(self._tasks.start, self._work())
            except Overloaded:
                # Each that works at the moment takes more when it is done.
                self._waking = False
                return
        self._loop.call_soon(self._check)

    def _check(self) -> None:
        if self._queue:
            self._wake()
        else:
            self._waking = False

    async def _work(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        queue, idle, handle, copy = self._queue, self._idle, self._handle, self._context.copy
        while True:
            while queue:
                asker, number, message = queue.popleft()
                if number not in asker.running:
                    continue
                asker.running[number] = task
                reply: Message | None = None
                try:
                    run = copy().run
                    steps = cast("Generator[object, object, Message]", handle(message).__await__())
                    try:
                        waits_for = run(steps.send, None)
                    except StopIteration as done:
                        reply = cast("Message", done.value)
                    else:
                        reply = await _InContext(run, steps, waits_for)
                finally:
                    del asker.running[number]
                    asker.handled(number, message, reply)
                if task.cancelling():
                    return  # A handler swallowed its cancellation, which must not reach the next one.
            if len(idle) >= IDLE_MAX:
                return
            future: asyncio.Future[None] = self._loop.create_future()
            idle.append(future)
            await future


@final
class _InContext:
    """Goes on with a handler that waits for something, in its own context, as PEP 380 says."""

    __slots__ = ("_run", "_steps", "_waits_for")

    def __init__(
        self, run: Callable[..., object], steps: Generator[object, object, Message], waits_for: object
    ) -> None:
        self._run = run
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, object, Message]:
        run, steps, waits_for = self._run, self._steps, self._waits_for
        while True:
            try:
                try:
                    came = yield waits_for
                except BaseException as error:  # noqa: BLE001 - whatever it is, the handler is to see it
                    waits_for = run(steps.throw, error)
                else:
                    waits_for = run(steps.send, came)
            except StopIteration as done:
                return cast("Message", done.value)
