"""The disk of a simulated machine: real SQLite in memory, that is slow, full, or forgets what was not flushed.

A file is a connection that outlives the processes that use it. Killing a process rolls back what it had not committed,
as SQLite does when the file is opened again. A machine that goes dark loses what was not flushed: with
`synchronous=full` at most a commit that nobody was told of, otherwise the commits since the system last wrote back.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar, final

import msgspec

from hanse.sim.chance import Draws
from hanse.sim.loop import Lane, Loop
from hanse.sim.trace import Trace
from hanse.store.base import Batch
from hanse.store.sqlite.lane import Apply, Stopped
from hanse.store.sqlite.tables import connect

T = TypeVar("T")

WRITE_BACK_SECONDS = 5.0
"""How long the system keeps what was written without a flush, before it writes it back."""

PAGES_MAX = 1_000_000
"""Pages of a file on a disk with room."""

READ_SHARE = 0.2
"""Part of an access's time that a read of a few rows takes."""

WAKE_SECONDS = 0.2
"""How long it takes at most until another process notices a commit."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Committed(Protocol):
    """Told of each commit, and again when whoever asked for it is told."""

    def __call__(  # noqa: D102 - see the class
        self, machine: str, path: str, batch: Batch, positions: tuple[int, ...], /, *, acknowledged: bool
    ) -> None: ...


@final
class File:
    """A file: its connection, and what of it would survive the dark."""

    def __init__(self, path: str) -> None:
        self.path: str = path
        self.connection: sqlite3.Connection = connect(":memory:", synchronous="full")
        self.synchronous: str = "full"
        self.flushed: bytes | None = None
        self.flushed_at: float = 0.0
        self.in_flight: int = 0
        self.lanes: list[DiskLane] = []

    def restore(self) -> None:
        """Make it what was flushed."""
        if self.flushed is not None:
            self.connection.close()
            self.connection = connect(":memory:", synchronous="full")
            self.connection.deserialize(self.flushed)

    def flush(self, now: float) -> None:
        """All that is written survives the dark from now on."""
        self.flushed = self.connection.serialize()
        self.flushed_at = now


@final
class Disk:
    """The files of one machine. Also a `hanse.store.sqlite` Disk: where its stores get their connections.

    Attributes:
        low, high: Seconds that an access takes without any trouble; a commit takes two.
        factor: How many times slower it is at the moment.
        dark: Whether power may go in this run: then it is kept what would survive.
        lying: Whether flushes are promised and not done.
    """

    def __init__(self, loop: Loop, trace: Trace, seed: int, machine: str, committed: Committed) -> None:
        self.machine: str = machine
        self.low: float = 0.0002
        self.high: float = 0.002
        self.factor: float = 1.0
        self.dark: bool = False
        self.lying: bool = False
        self.files: dict[str, File] = {}
        self.loop: Loop = loop
        self.draws: Draws = Draws(seed, "disk", machine)
        self._trace = trace
        self._committed = committed
        self._boots = 0
        self._free = 0.0
        self._full = False

    # What a store asks of it.

    def connect(self, path: str, synchronous: str) -> sqlite3.Connection:
        """The file, made where it is missing."""
        file = self.files.get(path)
        if file is None:
            file = self.files[path] = File(path)
            if self.dark:
                file.flush(self.loop.now)
        file.synchronous = synchronous
        self._limit(file)
        return file.connection

    def release(self, connection: sqlite3.Connection) -> None:
        """A process lets go of a file, which stays."""
        if connection.in_transaction:
            connection.rollback()

    def boot(self) -> str:
        """Names the time since the machine was last dark."""
        return f"{self.machine}-{self._boots}"

    # What happens to it.

    def killed(self) -> None:
        """A process that used it was killed."""
        for file in self.files.values():
            file.lanes.clear()
            file.in_flight = 0
            if file.connection.in_transaction:
                file.connection.rollback()

    def darkened(self) -> None:
        """The power went: what was not flushed is gone."""
        self._boots += 1
        for file in self.files.values():
            torn = file.in_flight > 0 and self.draws.draw() < 0.5  # noqa: PLR2004 - half of them
            if self.lying or torn or file.synchronous != "full":
                file.restore()
        self.lying = False
        self.killed()

    def fill(self, *, full: bool) -> None:
        """Nothing more can be written; or it can again."""
        self._full = full
        for file in self.files.values():
            self._limit(file)

    def _limit(self, file: File) -> None:
        ((pages,),) = file.connection.execute("PRAGMA page_count").fetchall()
        file.connection.execute(f"PRAGMA max_page_count = {pages if self._full else PAGES_MAX}").fetchall()

    # What its lanes ask of it.

    async def access(self) -> None:
        """Wait for the disk: one access after the other."""
        now = self.loop.now
        self._free = max(self._free, now) + self.factor * self.draws.between(self.low, self.high)
        await asyncio.sleep(self._free - now)

    async def look(self) -> None:
        """Wait for what is mostly in memory, beside others."""
        await asyncio.sleep(self.factor * self.draws.between(self.low, self.high) * READ_SHARE)

    def wrote(self, file: File, batch: Batch, positions: tuple[int, ...], lane: DiskLane) -> None:
        """A batch is in the file."""
        self._trace.add(self.loop.now, self.machine, "commit", f"{file.path} {positions}", _encode(batch))
        if self.dark and file.synchronous != "full" and self.loop.now - file.flushed_at > WRITE_BACK_SECONDS:
            file.flush(self.loop.now)
        self._committed(self.machine, file.path, batch, positions, acknowledged=False)
        for other in file.lanes:
            if other is not lane:
                _ = self.loop.at(self.loop.now + self.draws.between(0.0, WAKE_SECONDS), other.wake)

    def told(self, file: File, batch: Batch, positions: tuple[int, ...]) -> None:
        """Whoever asked for it is told now, so it has to last."""
        if self.dark and file.synchronous == "full" and not self.lying:
            file.flush(self.loop.now)
        self._committed(self.machine, file.path, batch, positions, acknowledged=True)


@final
class DiskLane:
    """Where a store's work runs: in the task that asks, after the disk's delays. A `hanse.store.sqlite` Lane."""

    threaded: bool = False
    reads_at_once: bool = False

    def __init__(self, disk: Disk, path: str, process: Lane) -> None:
        """The way of one process to one file."""
        self._disk = disk
        self._path = path
        self._process = process

    @property
    def _file(self) -> File:
        return self._disk.files[self._path]

    def start(self, apply: Apply, committed: Callable[[], None]) -> None:
        """Get ready."""
        self._apply: Apply = apply
        self._heard: Callable[[], None] = committed

    def wake(self) -> None:
        """Another process committed."""
        if self._process.alive:
            _ = self._disk.loop.call_soon(self._heard, context=self._process.context)

    async def write(self, batch: Batch) -> tuple[int, ...]:
        """Write a batch: between the two accesses it is in the file, and nobody was told."""
        await self._access()
        (outcome,) = self._apply((batch,))
        file = self._file
        if isinstance(outcome, Exception):
            await self._require_life()
            raise outcome
        self._disk.wrote(file, batch, outcome, self)
        await self._require_life()
        file.in_flight += 1
        await self._access()
        file.in_flight -= 1
        self._disk.told(file, batch, outcome)
        if outcome:
            self._heard()
        return outcome

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job after an access."""
        await self._access()
        result = job()
        file = self._disk.files.get(self._path)
        if file is not None and self not in file.lanes:
            file.lanes.append(self)
        return result

    async def read(self, job: Callable[[], T]) -> T:
        """Run a read: at once, as from memory, unless the disk is slow; then beside others."""
        if self._disk.factor != 1.0:
            await self._disk.look()
        await self._require_life()
        return job()

    async def scan(self, job: Callable[[Stopped], T]) -> T:
        """Run a read after an access."""
        await self._access()
        return job(lambda: False)

    async def stop(self) -> None:
        """The process lets go."""
        file = self._disk.files.get(self._path)
        if file is not None and self in file.lanes:
            file.lanes.remove(self)

    async def _access(self) -> None:
        await self._disk.access()
        await self._require_life()

    async def _require_life(self) -> None:
        """In the last moments of a process that was killed, go no further: it must not reach the disk any more."""
        if not self._process.alive:
            await self._disk.loop.create_future()
