"""Where plain `def` functions run that would block the loop: in a few threads, each job with its caller's context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TypeVar

from hanse.kernel.faults import Overloaded

T = TypeVar("T")

WAITING_MAX = 1_000
"""Jobs that wait for their turn; past it, callers are told."""


class Threads:
    """So many turns at once, each in a thread or on the loop; the others wait, first come, first served.

    A job that its caller gave up goes on, and keeps its turn until it ends: a thread cannot be ended from outside.

    Example:
        >>> async def main() -> int:
        ...     threads = Threads(1)
        ...     try:
        ...         return await threads.run(lambda: 2 + 2)
        ...     finally:
        ...         threads.close()
        >>> asyncio.run(main())
        4
    """

    def __init__(self, count: int, name: str = "hanse") -> None:
        """Get ready; threads start with the first jobs.

        Args:
            count: Turns at once.
            name: What the threads' names begin with.
        """
        self._turns = asyncio.Semaphore(count)
        self._waiting = 0
        self._executor = ThreadPoolExecutor(count, name)

    async def run(self, job: Callable[[], T]) -> T:
        """What the job returns, or raises, in a thread.

        Raises:
            Overloaded: Too many wait already.
        """
        await self._take_turn()
        try:
            running = asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, job)
        except BaseException:
            self._turns.release()
            raise
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Hold a turn on the loop.

        Raises:
            Overloaded: Too many wait already.
        """
        await self._take_turn()
        try:
            yield
        finally:
            self._turns.release()

    def close(self) -> None:
        """Drop what has not begun; what runs goes on to its end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _take_turn(self) -> None:
        if self._waiting >= WAITING_MAX:
            raise Overloaded(f"the limit of {WAITING_MAX} jobs that wait for a thread")
        self._waiting += 1
        try:
            _ = await self._turns.acquire()
        finally:
            self._waiting -= 1

    def _ended(self, job: asyncio.Future[T]) -> None:
        self._turns.release()
        if not job.cancelled():
            _ = job.exception()  # of a job that was given up nobody else would ask for it
