"""Time limits for work that mostly has nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class OutOfTime(Exception):
    """Work took longer than it might; a `TimeoutError` is the work's own."""


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What some work gives, in so many seconds; as under `asyncio.timeout`, but a timer is set only if it has to wait.

    A timer costs more than reading a body that is there already, or than a handler that only computes. What does not
    wait could not be ended by a timer either, so nothing is lost.

    Args:
        seconds: How long it may wait, counted from its first wait.
        work: Begun here, in the caller's task.

    Raises:
        OutOfTime: It took longer, and was cancelled.

    Example:
        >>> async def add(left: int, right: int) -> int:
        ...     return left + right
        >>> asyncio.run(within(1.0, add(1, 2)))
        3
    """
    steps = cast("Generator[object, object, T]", work.__await__())
    if not hasattr(steps, "send"):
        # Awaitables of other libraries need not take values or errors: what `await` makes of them does.
        steps = cast("Generator[object, object, T]", _awaited(work).__await__())
    try:
        waits_for = steps.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    loop = asyncio.get_running_loop()
    alarm = _Alarm(cast("asyncio.Task[object]", asyncio.current_task(loop)))
    timer = loop.call_later(seconds, alarm.ring)
    try:
        return await _Rest(steps, waits_for)
    except asyncio.CancelledError:
        if alarm.is_mine():
            raise OutOfTime from None
        raise
    finally:
        timer.cancel()
        alarm.forget()


class _Alarm:
    """Cancels a task, once, and tells its own from others': `asyncio.timeout`, at half the cost."""

    __slots__ = ("_before", "_rang", "_task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self._before = task.cancelling()
        self._rang = False

    def ring(self) -> None:
        self._rang = True
        _ = self._task.cancel()

    def is_mine(self) -> bool:
        """Whether nobody but this has cancelled the task; takes its own cancellation back."""
        if not self._rang:
            return False
        self._rang = False
        return self._task.uncancel() <= self._before

    def forget(self) -> None:
        """Take a cancellation back that the work has swallowed, or was too quick for."""
        if self._rang:
            _ = self._task.uncancel()


async def _awaited(work: Awaitable[T]) -> T:
    return await work


class _Rest(Generic[T]):
    """Work that has begun, and what it waits for: whoever awaits this goes on with both, as PEP 380 says."""

    def __init__(self, steps: Generator[object, object, T], waits_for: object) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, object, T]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    came = yield waits_for
                except BaseException as error:  # noqa: BLE001 - whatever it is, the work is to see it
                    waits_for = self._steps.throw(error)
                else:
                    waits_for = self._steps.send(came)
            except StopIteration as done:
                return cast("T", done.value)
