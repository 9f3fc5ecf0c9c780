"""Where `@cpu` functions run: the port, and its two kinds, in processes or right here.

The machinery of processes is imported with the first job, since most programs have none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Future
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast, final

from hanse.kernel.faults import Misdeclared, Overloaded, Unavailable

if TYPE_CHECKING:  # multiprocessing costs more to import than a small service has to start
    from hanse.service.processes import Executor, Outcome

JOBS_MAX = 1_000
"""Jobs of one pool that run or wait at once; past it, callers are told."""

WORKERS_MAX = 61
"""Processes of one pool at most: more than some systems can wait for."""

GRACE_SECONDS = 10.0
"""How long a pool that closes waits for the jobs that run."""


class Pool(Protocol):
    """Runs functions somewhere: in processes, or (in a simulation) right here."""

    async def run(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], /
    ) -> object:
        """What the function returns; raises what it raises.

        Raises:
            Overloaded: The limit of jobs is reached; nothing was done.
            Unavailable: Whatever ran it broke, or is closed.
        """
        ...


class InlinePool:
    """Runs functions on the loop, one after the other: for simulations and for tests.

    Example:
        >>> asyncio.run(InlinePool().run(max, (1, 2), {}))
        2
    """

    async def run(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], /
    ) -> object:
        """See `Pool.run`."""
        await asyncio.sleep(0)
        return function(*args, **kwargs)


@final
class ProcessPool:
    """Runs functions in processes, which start with the first job.

    Example:
        >>> async def main(pool: ProcessPool) -> object:
        ...     try:
        ...         return await pool.run(render, ("source",), {})
        ...     finally:
        ...         await pool.close()
    """

    def __init__(self, workers: int = 0, *, jobs_max: int = JOBS_MAX) -> None:
        """Get ready; no process is started yet.

        Args:
            workers: Processes; 0 for as many as there are processors.
            jobs_max: Jobs that run or wait at once.
        """
        self._workers = min(workers or os.cpu_count() or 1, WORKERS_MAX)
        self._jobs_max = jobs_max
        self._executor: Executor | None = None
        self._jobs: set[Future[Outcome]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    async def run(
        self, function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], /
    ) -> object:
        """What the function returns; raises what it raises. A caller that is cancelled gives up the wait.

        Args:
            function: One that `@cpu` decorates.
            args: What to call it with.
            kwargs: What to call it with by name.

        Raises:
            Overloaded: The limit of jobs is reached; nothing was done.
            Unavailable: The process that ran it died, or the pool is closed.
            Misdeclared: The function cannot be found from another process, or its data cannot be sent there.
        """
        executor = self._ready()
        try:
            future = executor.work(function, args, kwargs)
            self._jobs.add(future)
            future.add_done_callback(self._jobs.discard)
            returned, value = await _outcome(future, function)
        except BrokenExecutor:
            if self._executor is executor:
                self._executor = None
            raise Unavailable(
                f"a process of the pool died while {function.__qualname__} was run: it crashed, was killed, ran out "
                f"of memory, or could not be started or read its arguments; the next call gets a fresh one"
            ) from None
        if returned:
            return value
        raise cast("Exception", value)

    async def close(self, grace: float = GRACE_SECONDS) -> None:
        """Drop the jobs that wait, let those that run go on for up to `grace` seconds, and end the processes."""
        self._closed = True
        executor, self._executor = self._executor, None
        if executor is None:
            return
        workers = executor.workers
        shutdown = partial(executor.shutdown, wait=True, cancel_futures=True)
        ended = asyncio.get_running_loop().run_in_executor(None, shutdown)
        await asyncio.wait([ended], timeout=grace)
        if not ended.done():
            for worker in workers:
                worker.kill()
        await ended

    def _ready(self) -> Executor:
        if self._closed:
            raise Unavailable("the process pool is closed: its node is stopping")
        if len(self._jobs) >= self._jobs_max:
            raise Overloaded(f"the limit of {self._jobs_max} jobs in the process pool")
        if self._executor is None:
            from hanse.service.processes import Executor

            self._executor = Executor(self._workers)
        return self._executor


async def _outcome(future: Future[Outcome], function: Callable[..., object]) -> Outcome:
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unavailable(f"the process pool was closed before {function.__qualname__} was run") from None
    except BrokenExecutor:
        raise
    except Exception as error:
        # What the function raises comes as an outcome, so this is about sending it.
        raise Misdeclared(f"{function.__qualname__} has @cpu, but its data cannot cross processes: {error}") from error
