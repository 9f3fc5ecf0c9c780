"""Where the store's work runs: in threads of its own, or in the task that asks.

A desk is the seam between the event loop and SQLite, which blocks. `ThreadDesk` is for production: commits of one turn
of the loop, and all that pile up while the disk is busy, go to one writer thread and into one transaction; long reads
go to a few reader threads. `InlineDesk` has no threads at all, so a simulated world stays in charge of every step.

Every access to an open file goes through a desk, so a desk of a world's own may let each take its time, or fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Protocol, TypeVar, cast

import msgspec

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.store.base import Batch
from hanse.store.group import Outcome

T = TypeVar("T")

COMMITS_MAX = 10_000
"""Commits that wait for the writer at once; more are refused as `Overloaded`."""

GROUP_MAX = 256
"""Commits in one transaction at most."""

READERS_MAX = 2
"""Reader threads."""

SCANS_MAX = 256
"""Reads that wait for a reader thread at once; more are refused as `Overloaded`."""

Apply = Callable[[Sequence[Batch]], Sequence[Outcome]]
"""Writes batches in one transaction; one outcome each. Raises nothing."""

Heard = Callable[[Sequence[Batch] | None], None]
"""Told of the batches of a transaction that wrote entries; None where others wrote, of whose batches nobody knows."""

Stopped = Callable[[], bool]
"""Tells a long read that nobody waits for it any more."""


class Desk(Protocol):
    """Runs the store's work."""

    @property
    def threaded(self) -> bool:
        """Whether work runs beside the loop: then timers may run as well, and other processes be listened to."""
        ...

    @property
    def reads_at_once(self) -> bool:
        """Whether `read` only runs its job: then it may be left out."""
        ...

    def start(self, apply: Apply, committed: Heard) -> None:
        """Get ready; `committed` is to be called on the loop after each transaction that wrote an entry.

        It wakes whoever listens to the store. A desk that knows of commits by others calls it after those as well;
        where `threaded`, the store looks for them itself.
        """
        ...

    async def write(self, batch: Batch) -> tuple[int, ...]:
        """Have a batch written. Raises what refused it, `Overloaded` where too many wait."""
        ...

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job where the writer runs, in order with the commits."""
        ...

    async def read(self, job: Callable[[], T]) -> T:
        """Run a read of a few rows, which is usually done sooner than handed to anybody."""
        ...

    async def scan(self, job: Callable[[Stopped], T]) -> T:
        """Run a read that may take long. Raises `Overloaded` where too many wait."""
        ...

    async def stop(self) -> None:
        """End once all that was asked for is done; long reads are given up."""
        ...


class InlineDesk:
    """Does all work in the task that asks, at once: no thread, no timer, nothing that a seed does not decide."""

    threaded: bool = False
    reads_at_once: bool = True

    def start(self, apply: Apply, committed: Heard) -> None:
        """Get ready."""
        self._apply: Apply = apply
        self._committed: Heard = committed

    async def write(self, batch: Batch) -> tuple[int, ...]:
        """Write a batch in a transaction of its own."""
        (outcome,) = self._apply((batch,))
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            self._committed((batch,))
        return outcome

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job now."""
        return job()

    async def read(self, job: Callable[[], T]) -> T:
        """Run a read now."""
        return job()

    async def scan(self, job: Callable[[Stopped], T]) -> T:
        """Run a read now."""
        return job(lambda: False)

    async def stop(self) -> None:
        """Nothing is left to wait for."""


def _outcome(job: Callable[[], T], future: asyncio.Future[T]) -> Callable[[], None]:
    """Run a job; what comes back tells its waiter, if it still waits."""
    try:
        result = job()
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        failure = error
        return lambda: None if future.done() else future.set_exception(failure)
    return lambda: None if future.done() else future.set_result(result)


_Waiter = tuple[Batch, "asyncio.Future[tuple[int, ...]]"]


class _Call(msgspec.Struct, frozen=True):
    """Runs in the writer thread; what it returns runs on the loop."""

    run: Callable[[], Callable[[], None]]


_Item = list[_Waiter] | _Call | None
"""What the writer is handed: commits, a job, or the end."""


class ThreadDesk:
    """One writer thread with group commit, a few reader threads."""

    threaded: bool = True
    reads_at_once: bool = True

    def start(self, apply: Apply, committed: Heard) -> None:
        """Start the writer thread."""
        self._apply: Apply = apply
        self._committed: Heard = committed
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._turn: list[_Waiter] = []
        self._waiting: int = 0
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._scans: set[asyncio.Future[object]] = set()
        self._stopping: bool = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._readers: ThreadPoolExecutor = ThreadPoolExecutor(READERS_MAX, "hanse-store-reader")
        # Not waited for when the interpreter ends without close(): a commit that nobody was told of may be lost.
        self._writer: Thread = Thread(target=self._work, name="hanse-store-writer", daemon=True)
        self._writer.start()

    async def write(self, batch: Batch) -> tuple[int, ...]:
        """Write a batch together with the others of this turn of the loop."""
        self._require_room(self._waiting, COMMITS_MAX, "commits waiting for the store")
        future: asyncio.Future[tuple[int, ...]] = self._loop.create_future()
        self._waiting += 1
        self._turn.append((batch, future))
        if len(self._turn) == 1:
            self._loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        if self._turn:
            self._queue.put(self._turn)
            self._turn = []

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job in the writer thread."""
        self._require_room(0, 1, "jobs")
        self._flush()
        future: asyncio.Future[T] = self._loop.create_future()

        self._queue.put(_Call(lambda: _outcome(job, future)))
        return await future

    async def read(self, job: Callable[[], T]) -> T:
        """Run a read on the loop: a few pages that are mostly in memory, for less than two switches of threads."""
        return job()

    async def scan(self, job: Callable[[Stopped], T]) -> T:
        """Run a read in a reader thread; a caller that is cancelled stops it."""
        self._require_room(len(self._scans), SCANS_MAX, "reads waiting for the store")
        left = Event()
        future = self._loop.run_in_executor(self._readers, job, lambda: left.is_set() or self._stopping)
        known = cast("asyncio.Future[object]", future)
        self._scans.add(known)
        known.add_done_callback(self._scans.discard)
        try:
            return await future
        except asyncio.CancelledError:
            left.set()
            raise

    async def stop(self) -> None:
        """Let the writer finish what it was given, and end all threads."""
        self._flush()
        self._stopping = True
        self._queue.put(None)
        await asyncio.shield(self._ended)
        if self._scans:
            await asyncio.wait(self._scans)
        self._readers.shutdown()
        self._writer.join()

    def _require_room(self, waiting: int, limit: int, what: str) -> None:
        if self._stopping:
            raise Unavailable("the store is closing; nothing was written")
        if waiting >= limit:
            raise Overloaded(f"the limit of {limit} {what}")

    def _work(self) -> None:
        nothing: list[_Waiter] = []
        more: _Item = nothing
        try:
            while more is not None:
                if isinstance(more, list):
                    group, more = self._gather(more)
                    self._write(group)
                else:
                    self._loop.call_soon_threadsafe(more.run())
                    more = nothing
            self._loop.call_soon_threadsafe(self._ended.set_result, None)
        except RuntimeError:
            # The loop was closed without the store: nobody is left to be told.
            return

    def _gather(self, group: list[_Waiter]) -> tuple[list[_Waiter], _Item]:
        """All commits that wait by now, and what came after them; waits where there is nothing at all."""
        while True:
            try:
                item = self._queue.get(block=not group)
            except Empty:
                return group, []
            if not isinstance(item, list):
                return group, item
            group = group + item if group else item
            if len(group) >= GROUP_MAX:
                return group, []

    def _write(self, waiters: list[_Waiter]) -> None:
        for start in range(0, len(waiters), GROUP_MAX):
            group = waiters[start : start + GROUP_MAX]
            outcomes = self._apply([batch for batch, _ in group])
            self._loop.call_soon_threadsafe(self._deliver, group, outcomes)

    def _deliver(self, group: Sequence[_Waiter], outcomes: Sequence[Outcome]) -> None:
        self._waiting -= len(group)
        written: list[Batch] = []
        for (batch, future), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                if not future.done():
                    future.set_exception(outcome)
                continue
            if outcome:
                written.append(batch)
            if not future.done():
                future.set_result(outcome)
        if written:
            self._committed(written)
