"""Who works for a store on a server while it is open: one task commits what waits, another hears of others' commits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, final

from hanse.kernel.tasks import Tasks
from hanse.store.base import Batch
from hanse.store.group import Outcome, is_late
from hanse.store.listeners import Listeners
from hanse.store.waiting import Apply, Waiting, closed


class Hears(Protocol):
    """Hears what other processes commit, and tells them of this one."""

    async def run(self) -> None:
        """Hear until cancelled, and call `Crew.heard`."""
        ...

    def tell(self, head: int, /) -> None:
        """This process has committed up to a position."""
        ...


@final
class Crew:
    """The tasks of one store, what waits for them, and who is woken by them."""

    def __init__(self, log: logging.Logger) -> None:
        """Have nothing to do yet.

        Args:
            log: Told of a task that ended, which none should.
        """
        self._listeners = Listeners()
        self._tasks = Tasks(lambda error: log.error("a task of the store ended", exc_info=error))
        self._waiting: Waiting | None = None
        self._writing: asyncio.Task[None] | None = None
        self._news: Hears | None = None
        self._commits_before = 0
        self.late: int = 0
        """Batches that were refused as late, ever since; see `CountsLate`."""

    @property
    def commits(self) -> int:
        """Batches that were committed, ever since there is this object."""
        return self._commits_before + (self._waiting.commits if self._waiting is not None else 0)

    def start(self, apply: Apply, news: Hears) -> None:
        """Begin.

        Args:
            apply: Writes a group, and calls `committed`.
            news: Hears of other processes.
        """

        async def counted(batches: Sequence[Batch]) -> Sequence[Outcome]:
            outcomes = await apply(batches)
            self.late += sum(map(is_late, batches, outcomes))
            return outcomes

        self._commits_before, self._waiting = self.commits, Waiting(counted)
        self._writing = self._tasks.start(self._waiting.run(), name="hanse-store-writer")
        self._news = news
        _ = self._tasks.start(news.run(), name="hanse-store-news")

    async def commit(self, batch: Batch) -> tuple[int, ...]:
        """Have a batch written; see `Waiting.commit`."""
        if self._waiting is None:
            raise closed()
        return await self._waiting.commit(batch)

    def listen(self, wake: Callable[[], None], names: Sequence[str] | None) -> Callable[[], None]:
        """Have `wake` called after commits; see `Listeners.add`."""
        return self._listeners.add(wake, names)

    def committed(self, batches: Sequence[Batch], head: int) -> None:
        """This process has committed up to a position: wake those who listen for that, and tell others."""
        self._listeners.wake(asyncio.get_running_loop(), batches)
        if self._news is not None:
            self._news.tell(head)

    def heard(self) -> None:
        """Others have committed: wake all."""
        self._listeners.wake(asyncio.get_running_loop())

    async def close(self) -> None:
        """Finish what waits, and rest."""
        self._listeners.rest()
        try:
            if self._waiting is not None:
                await self._waiting.close(self._writing)
        finally:
            self._writing = None
            await self._tasks.cancel()
