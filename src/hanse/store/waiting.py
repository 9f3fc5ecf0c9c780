"""Commits that wait for a store: taken in groups, one after the other, and each told what became of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import final

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.store.base import Batch, Emit, Put
from hanse.store.group import Outcome

COMMITS_MAX = 10_000
"""Commits that wait at once; more are refused as `Overloaded`."""

GROUP_MAX = 256
"""Commits in one group at most."""

GROUP_BYTES_MAX = 4 * 1024 * 1024
"""Of values in one group; one commit alone may be larger."""

Apply = Callable[[Sequence[Batch]], Awaitable[Sequence[Outcome]]]
"""Writes a group, and says what became of each; raises nothing but cancellation."""


def closed() -> Unavailable:
    """What whoever asks a closed store is told."""
    return Unavailable("the store is closed: open it first")


_Waiter = tuple[Batch, "asyncio.Future[tuple[int, ...]]"]


@final
class Waiting:
    """The queue in front of what writes.

    Attributes:
        commits: Batches that were committed.
    """

    def __init__(self, apply: Apply) -> None:
        """Have nobody wait yet.

        Args:
            apply: Writes what waits.
        """
        self.commits: int = 0
        self._apply = apply
        self._queue: deque[_Waiter] = deque()
        self._taken: list[_Waiter] = []
        self._due = asyncio.Event()
        self._waiting = 0
        self._closing = False

    async def commit(self, batch: Batch) -> tuple[int, ...]:
        """Have a batch written, together with all that waits.

        Raises:
            Fault: As `Store.commit` has it.
            Overloaded: `COMMITS_MAX` wait already.
        """
        if self._closing:
            raise closed()
        if self._waiting >= COMMITS_MAX:
            raise Overloaded(f"the limit of {COMMITS_MAX} commits waiting for the store")
        future: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._queue.append((batch, future))
        self._due.set()
        return await future

    async def run(self) -> None:
        """Write what comes, until the store is closed and nothing waits any more."""
        try:
            while True:
                while self._queue:
                    self._taken = list(self._next())
                    outcomes = await self._apply([batch for batch, _ in self._taken])
                    taken, self._taken = self._taken, []
                    self._deliver(taken, outcomes)
                if self._closing:
                    return
                self._due.clear()
                _ = await self._due.wait()
        finally:
            self._closing = True
            self._give_up(
                self._taken, "the store was closed amid this commit, and it is not known whether it took effect"
            )
            self._give_up(self._queue, "the store was closed before it wrote this")

    async def close(self, running: asyncio.Task[None] | None) -> None:
        """Take no more, and finish what waits.

        Args:
            running: The task that runs `run`.
        """
        self._closing = True
        self._due.set()
        if running is not None:
            # Not the task itself, which goes on where whoever closes is cancelled; how it ended is told elsewhere.
            _ = await asyncio.wait((running,))

    def _next(self) -> Iterable[_Waiter]:
        size = 0
        for _ in range(min(GROUP_MAX, len(self._queue))):
            size += _bytes_of(self._queue[0][0])
            if size > GROUP_BYTES_MAX and size > _bytes_of(self._queue[0][0]):
                return
            yield self._queue.popleft()

    def _give_up(self, waiters: Iterable[_Waiter], why: str) -> None:
        left = list(waiters)
        self._deliver(left, [Unavailable(why) for _ in left])

    def _deliver(self, waiters: Sequence[_Waiter], outcomes: Sequence[Outcome]) -> None:
        self._waiting -= len(waiters)
        for (_, future), outcome in zip(waiters, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                self.commits += 1
                future.set_result(outcome)


def _bytes_of(batch: Batch) -> int:
    return sum(len(write.value) for write in batch.writes if isinstance(write, (Put, Emit)))
