"""Tasks that somebody owns: each belongs to a `Tasks` scope that outlives it, and none is forgotten.

A `TaskGroup` ends everything when one member fails, which is right inside a handler. A node runs many loops that must
not end one another: this scope keeps them, reports a failure, and cancels and awaits what is left.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from hanse.kernel.faults import Overloaded

T = TypeVar("T")

TASKS_MAX = 10_000
"""Tasks that one scope holds before it refuses another."""

CANCEL_ROUNDS_MAX = 5
"""How often a task that swallows its cancellation is cancelled again before it is given up."""

LEAVING_SECONDS = 1.0
"""That a task has to let go of what it holds, such as a lease, before it is taken for one that swallowed it."""


class Tasks:
    """A scope that owns tasks.

    Example:
        >>> async def main() -> str:
        ...     async with Tasks(print) as tasks:
        ...         return await tasks.start(asyncio.sleep(0, "done"))
        >>> asyncio.run(main())
        'done'
    """

    def __init__(self, failed: Callable[[BaseException], object], *, limit: int = TASKS_MAX) -> None:
        """Start with no tasks.

        Args:
            failed: Told of each exception that ended a task, but for cancellation.
            limit: Tasks held at once at most.
        """
        self._failed = failed
        self._limit = limit
        # In the order in which they began, and so they are cancelled: a set would have them as they lie in memory.
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """Run a coroutine as a task of this scope.

        Args:
            coroutine: What to run.
            name: Of the task.
            context: What it runs in; by default a copy of the caller's.

        Raises:
            Overloaded: The scope holds its limit of tasks already; the coroutine is closed.
        """
        if len(self._tasks) >= self._limit:
            coroutine.close()
            raise Overloaded(f"{self._limit} tasks at once")
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until every task has ended, at most `timeout` seconds; whether all have."""
        tasks = self._others()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        return all(task.done() for task in tasks)

    async def cancel(self) -> None:
        """Cancel every task and wait for its end; one that swallows the cancellation is cancelled again."""
        for _ in range(CANCEL_ROUNDS_MAX):
            tasks = self._others()
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=LEAVING_SECONDS)

    def _others(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._tasks if task is not asyncio.current_task()]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cancel()
