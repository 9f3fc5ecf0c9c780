"""Where plain `def` functions run that would block the loop: in a few threads, each job with its caller's context.

The threads are daemons: those of `concurrent.futures` are awaited when the process ends, for ever where one hangs.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import ParamSpec, TypeVar

from hanse.kernel.faults import Overloaded

T = TypeVar("T")
P = ParamSpec("P")

WAITING_MAX = 1_000
"""Jobs that wait for their turn; past it, callers are told."""


class Daemons(Executor):
    """Runs jobs in a few threads that do not keep the process from ending.

    Example:
        >>> with Daemons(1) as daemons:
        ...     daemons.submit(max, 1, 2).result()
        2
    """

    def __init__(self, count: int, name: str = "hanse") -> None:
        """Get ready; a thread starts where a job finds none at leisure.

        Args:
            count: Threads at most.
            name: What their names begin with.
        """
        self._crew = _Crew(count, name)
        self._dropped = weakref.finalize(self, self._crew.end)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()
        self._crew.take(partial(_run, future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is there
        """Take no more jobs, and end each thread after those that are there. It neither waits nor drops any."""
        del wait, cancel_futures
        self._crew.end()


class _Crew:
    """The threads of one executor: they know this and not the executor, which may be dropped while they wait."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = Lock()
        self._started = 0
        self._at_leisure = 0
        self._ended = False

    def take(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._ended:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._jobs.put(job)
            if self._at_leisure:
                self._at_leisure -= 1
            elif self._started < self._count:
                self._started += 1
                Thread(target=self._work, name=f"{self._name}_{self._started}", daemon=True).start()

    def end(self) -> None:
        with self._lock:
            started, self._started, self._ended = self._started, 0, True
        for _ in range(started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # or what it holds would live until the next one comes
            with self._lock:
                # Where another thread is quicker to take what is there, one too many is started once.
                self._at_leisure += self._jobs.empty()


def _run(future: Future[T], job: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


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
        self._executor = Daemons(count, name)

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
        """Take no more jobs; what runs goes on to its end."""
        self._executor.shutdown(wait=False)

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
