"""The disk of a simulated machine: real SQLite in memory, that is slow, full, or forgets what was not flushed.

A file is a connection that outlives the processes that use it. Killing a process rolls back what it had not committed,
as SQLite does when the file is opened again. What a power cut takes depends on how commits are made:

- With `synchronous=full` a commit is seen by nobody before it is flushed, so nothing that anybody has seen is lost.
  Of the commits that were being flushed, the first few may turn out to be there, and nobody was told.
- Otherwise a commit is seen at once, and the system writes it back some seconds later; until then the power takes it.
- A disk that lies about its flushes loses all since it began to.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar, TypeVarTuple, final

import msgspec

from hanse.kernel.faults import Overloaded
from hanse.sim.chance import Draws
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.trace import Trace
from hanse.store.base import Batch
from hanse.store.sqlite.desk import COMMITS_MAX, Apply, Heard, Stopped
from hanse.store.sqlite.tables import connect

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WRITE_BACK_SECONDS = 5.0
"""How long the system keeps what was written without a flush, before it writes it back."""

PAGES_MAX = 1_000_000
"""Pages of a file on a disk with room."""

FAR_SHARE = 0.5
"""Share of the disks, over the seeds, at which reads wait."""

READ_SHARE = 0.2
"""Part of an access's time that a read of a few rows takes, and that it takes to tell whoever asked for a commit."""

WAKE_SECONDS = 0.2
"""How long it takes at most until another process notices a commit."""

SURVIVES = 0.5
"""Share of the commits under way that turn out to be there after a power cut."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Committed(Protocol):
    """Told of each commit, and again when whoever asked for it is told."""

    def __call__(  # noqa: D102 - see the class
        self, machine: str, path: str, batch: Batch, positions: tuple[int, ...], /, *, acknowledged: bool
    ) -> None: ...


class Pending(msgspec.Struct, eq=False):
    """A commit that is being written and flushed.

    Attributes:
        desk: Of the process that asked for it.
        batch: What it writes.
    """

    desk: DiskDesk
    batch: Batch


@final
class File:
    """A file: its connection, and what of it would survive the dark.

    Attributes:
        path: Its name.
        connection: To what it holds now.
        synchronous: How whoever opened it last makes commits durable, as SQLite names it.
        kept: What would survive; None where all would.
        dirty: Whether the system has yet to write something back.
        pending: Commits under way, in order.
        desks: Those who have it open.
    """

    def __init__(self, path: str, synchronous: str) -> None:
        self.path: str = path
        self.connection: sqlite3.Connection = connect(":memory:", synchronous="full")
        self.synchronous: str = synchronous
        self.kept: bytes | None = None
        self.dirty: bool = False
        self.pending: list[Pending] = []
        self.desks: list[DiskDesk] = []

    def keep(self) -> None:
        """What it holds now would survive."""
        ((pages,),) = self.connection.execute("PRAGMA page_count").fetchall()
        # SQLite makes no bytes of a file without pages.
        self.kept = self.connection.serialize() if pages else b""
        self.dirty = False

    def forget(self) -> None:
        """Make it what would survive."""
        self.dirty = False
        if self.kept is not None:
            self.connection.close()
            self.connection = connect(":memory:", synchronous="full")
            if self.kept:
                self.connection.deserialize(self.kept)

    def rolled_back(self) -> None:
        """Nobody uses it any more, and nothing was under way."""
        self.desks.clear()
        self.pending.clear()
        if self.connection.in_transaction:
            self.connection.rollback()


@final
class Disk:
    """The files of one machine. Also a `hanse.store.sqlite` Disk: where its stores get their connections.

    Attributes:
        machine: Its name.
        low, high: Seconds that an access takes without any trouble; a commit takes two.
        factor: How many times slower it is at the moment.
        far: Whether reads wait as well, as they do for a database on another machine.
        lying: Whether flushes are promised and not done.
        files: By path.
    """

    def __init__(self, loop: Loop, trace: Trace, seed: int, machine: str, committed: Committed) -> None:
        self.machine: str = machine
        self.low: float = 0.0002
        self.high: float = 0.002
        self.factor: float = 1.0
        self.lying: bool = False
        # What waits for a read shows what databases behind a network show; what does not, is what a local file does.
        self.far: bool = Draws(seed, "far", machine).draw() < FAR_SHARE
        self.files: dict[str, File] = {}
        self.loop: Loop = loop
        self.draws: Draws = Draws(seed, "disk", machine)
        self._trace = trace
        self._committed = committed
        self._boots = 0
        self._free = 0.0
        self._fills = 0

    # What a store asks of it.

    def connect(self, path: str, synchronous: str) -> sqlite3.Connection:
        """The file, made where it is missing."""
        file = self.files.get(path)
        if file is None:
            file = self.files[path] = File(path, synchronous)
        changed, file.synchronous = file.synchronous != synchronous, synchronous
        if not self._lasts(file) and (changed or file.kept is None):
            file.keep()
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
        """The processes that used it were killed."""
        for file in self.files.values():
            file.rolled_back()

    def darkened(self) -> None:
        """The power went: what was not flushed is gone."""
        self._boots += 1
        for file in self.files.values():
            pending = list(file.pending)
            file.rolled_back()
            if self._lasts(file):
                self._survive(file, pending)
            else:
                file.forget()
            self._limit(file)
        self.lying = False

    def lie(self) -> None:
        """Promise flushes from now on, and do none; until the power goes."""
        self.lying = True
        for file in self.files.values():
            if file.synchronous == "full":
                file.keep()

    def close(self) -> None:
        """The world has ended: nobody can look at its files any more."""
        for file in self.files.values():
            file.connection.close()

    def fill(self, *, full: bool) -> None:
        """Nothing more can be written; or it can again, once each that filled it has made room."""
        self._fills = max(0, self._fills + (1 if full else -1))
        for file in self.files.values():
            self._limit(file)

    def _lasts(self, file: File) -> bool:
        """Whether what is in a file would survive the dark."""
        return file.synchronous == "full" and not self.lying

    def _survive(self, file: File, pending: list[Pending]) -> None:
        """Of the commits that were being flushed, the first few may be there."""
        turn = self.loop.lane
        for commit in pending:
            if self.draws.draw() >= SURVIVES:
                break
            # Fault points on the way are the dead process's, to which nothing can happen any more.
            self.loop.lane = commit.desk.process
            outcome = commit.desk.apply(commit.batch)
            self.loop.lane = turn
            if not isinstance(outcome, Exception):
                self._noted(file, commit.batch, outcome)

    def _limit(self, file: File) -> None:
        ((pages,),) = file.connection.execute("PRAGMA page_count").fetchall()
        # Not 0 for a file that is empty, which would be no limit.
        limit = max(pages, 1) if self._fills else PAGES_MAX
        file.connection.execute(f"PRAGMA max_page_count = {limit}").fetchall()

    # What its desks ask of it.

    def booked(self, accesses: int) -> float:
        """Seconds until some accesses of one's own are done: one after the other, behind all that others asked for."""
        now = self.loop.now
        self._free = max(self._free, now) + accesses * self.factor * self.draws.between(self.low, self.high)
        return self._free - now

    def glance(self) -> float:
        """Seconds that something takes which is mostly in memory, beside others."""
        return self.factor * self.draws.between(self.low, self.high) * READ_SHARE

    def wrote(self, file: File, batch: Batch, positions: tuple[int, ...], desk: DiskDesk) -> None:
        """A batch is in the file."""
        if file.synchronous != "full" and not file.dirty:
            file.dirty = True
            _ = self.loop.at(self.loop.now + WRITE_BACK_SECONDS, self._write_back, file)
        self._noted(file, batch, positions)
        for other in file.desks:
            if other is not desk:
                _ = self.loop.at(self.loop.now + self.draws.between(0.0, WAKE_SECONDS), other.wake)

    def told(self, file: File, batch: Batch, positions: tuple[int, ...]) -> None:
        """Whoever asked for it is told now, so it has to last, as far as commits of the file do."""
        self._committed(self.machine, file.path, batch, positions, acknowledged=True)

    def flushed(self, file: File) -> None:
        """What was done to a file besides commits is flushed, however these are: its tables, who has it open."""
        if file.synchronous != "full" and not self.lying:
            file.keep()

    def _write_back(self, file: File) -> None:
        if file.dirty and not self.lying:
            file.keep()

    def _noted(self, file: File, batch: Batch, positions: tuple[int, ...]) -> None:
        if any(mark.tell is not None for mark in batch.marks):
            batch = msgspec.structs.replace(batch, marks=tuple(mark.told(positions) for mark in batch.marks))
        self._trace.add(self.loop.now, self.machine, "commit", f"{file.path} {positions}", _encode(batch))
        self._committed(self.machine, file.path, batch, positions, acknowledged=False)


@final
class DiskDesk:
    """Where a store's work runs: in the process that asks, after the disk's delays. A `hanse.store.sqlite` Desk.

    Attributes:
        process: Who asks.
    """

    threaded: bool = False
    reads_at_once: bool = False

    def __init__(self, disk: Disk, path: str, process: Lane) -> None:
        """The way of one process to one file."""
        self.process: Lane = process
        self._disk = disk
        self._path = path

    def start(self, apply: Apply, committed: Heard) -> None:
        """Get ready."""
        self._apply: Apply = apply
        self._heard: Heard = committed

    def apply(self, batch: Batch) -> tuple[int, ...] | Exception:
        """Write a batch into the file, now."""
        (outcome,) = self._apply((batch,))
        return outcome

    def wake(self) -> None:
        """Another process committed."""
        if self.process.alive:
            _ = self._disk.loop.call_soon(self._heard, None, context=self.process.context)

    async def write(self, batch: Batch) -> tuple[int, ...]:
        """Have a batch written and flushed. Whoever gives up meanwhile stops nothing, as with a thread that writes.

        Raises:
            Overloaded: Too many commits are under way.
        """
        disk, file = self._disk, self._disk.files[self._path]
        if len(file.pending) >= COMMITS_MAX:
            raise Overloaded(f"the limit of {COMMITS_MAX} commits waiting for the store")
        answer: asyncio.Future[tuple[int, ...]] = disk.loop.create_future()
        commit = Pending(self, batch)
        if self.process.alive:
            file.pending.append(commit)
        self._later(disk.booked(2), self._write, file, commit, answer)
        return await answer

    def _write(self, file: File, commit: Pending, answer: asyncio.Future[tuple[int, ...]]) -> None:
        file.pending.remove(commit)
        outcome = self.apply(commit.batch)
        if isinstance(outcome, Exception):
            if not answer.done():
                answer.set_exception(outcome)
            return
        self._disk.wrote(file, commit.batch, outcome, self)
        self._later(self._disk.glance(), self._tell, file, commit.batch, outcome, answer)

    def _tell(
        self, file: File, batch: Batch, positions: tuple[int, ...], answer: asyncio.Future[tuple[int, ...]]
    ) -> None:
        if not answer.done():
            self._disk.told(file, batch, positions)
            answer.set_result(positions)
        if positions:
            self._heard((batch,))

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job after an access, and flush what it did."""
        await self._wait(self._disk.booked(1))
        result = job()
        file = self._disk.files.get(self._path)
        if file is not None:
            if self not in file.desks:
                file.desks.append(self)
            self._disk.flushed(file)
        return result

    async def read(self, job: Callable[[], T]) -> T:
        """Run a read: at once, as from memory; or beside others, where the disk is slow or far away."""
        if self._disk.far or self._disk.factor != 1.0:
            await self._wait(self._disk.glance())
        elif not self.process.alive:
            await self._disk.loop.create_future()
        return job()

    async def scan(self, job: Callable[[Stopped], T]) -> T:
        """Run a read after an access."""
        await self._wait(self._disk.booked(1))
        return job(lambda: False)

    async def stop(self) -> None:
        """The process lets go, once its commits are done."""
        file = self._disk.files.get(self._path)
        if file is None:
            return
        while any(commit.desk is self for commit in file.pending):
            await self._wait(self._disk.booked(1))
        if self in file.desks:
            file.desks.remove(self)

    def _later(self, delay: float, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        # By the world's clock, so that whatever a process asks of its disk is done in that order.
        _ = self._disk.loop.at(self._disk.loop.now + delay, callback, *args, lane=self.process)

    async def _wait(self, delay: float) -> None:
        done: asyncio.Future[None] = self._disk.loop.create_future()
        self._later(delay, _finish, done)
        await done


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
