"""The simulated disk: what a killed process, a power cut, a full or a lying disk leave of what was written."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import ClassVar, Literal, NamedTuple, cast

import pytest

from hanse.kernel import fault_point
from hanse.kernel.faults import CouldNotStart, NotFound, Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.sim.disk import WAKE_SECONDS, WRITE_BACK_SECONDS, Disk, DiskDesk
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.machine import host_of
from hanse.sim.trace import Trace
from hanse.store.base import Batch, CollectionSchema, Put, Store
from hanse.store.query import Query
from hanse.store.sqlite import SqliteStore
from hanse.store.sqlite.desk import COMMITS_MAX
from hanse.testing.store import StoreSuite
from hanse.testing.store_hooks import ORDERS, batch, emit, put

pytestmark = pytest.mark.virtual_time

Synchronous = Literal["normal", "full"]

BLINK = 1e-6
"""Enough for other processes to have their turn, and for no disk to do anything."""


class Commit(NamedTuple):
    """What a disk told of a commit."""

    ids: tuple[str, ...]
    positions: tuple[int, ...]
    acknowledged: bool


class Machine:
    """A disk, and processes that come and go."""

    processes: ClassVar[list[Lane]] = []
    disks: ClassVar[list[Disk]] = []

    def __init__(self, seed: int = 7) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self.loop = loop
        self.commits: list[Commit] = []
        self.disk = Disk(loop, Trace(), seed, "m", self.committed)
        self.disk.far = True
        self.lives = count()
        self.disks.append(self.disk)

    def committed(
        self, machine: str, path: str, batch: Batch, positions: tuple[int, ...], /, *, acknowledged: bool
    ) -> None:
        ids = tuple(write.id for write in batch.writes if isinstance(write, Put))
        self.commits.append(Commit(ids, positions, acknowledged))

    def process(self) -> Lane:
        process = Lane(self.loop, f"m{next(self.lives)}")
        self.processes.append(process)
        return process

    def store(self, process: Lane, synchronous: Synchronous = "full", path: str = "a.db") -> SqliteStore:
        desk = DiskDesk(self.disk, path, process)
        return SqliteStore(path, synchronous=synchronous, desk=desk, host=self.host(process), disk=self.disk)

    def host(self, process: Lane) -> Host:
        return host_of(process, chance=(7, process.name, 0), wall=lambda: 1.75e9 + self.loop.now)

    async def opened(self, synchronous: Synchronous = "full") -> tuple[Lane, SqliteStore]:
        """A process that has the file open."""
        process = self.process()
        store = self.store(process, synchronous)
        await process.start(store.open([ORDERS]))
        return process, store

    def kill(self, process: Lane) -> None:
        process.kill()
        self.disk.killed()

    def darken(self, process: Lane) -> None:
        process.kill()
        self.disk.darkened()


@pytest.fixture(autouse=True)
def buried() -> Iterator[None]:
    """Whatever is under way in the processes of a test ends with its loop, and its files with it."""
    yield
    for process in Machine.processes:
        process.kill()
    for disk in Machine.disks:
        disk.close()
    Machine.processes.clear()
    Machine.disks.clear()


async def rows(store: Store) -> list[str]:
    """The ids of all rows, from the log."""
    found, after, more = list[str](), 0, True
    while more:
        changes = await store.changes(after, limit=1000)
        found += [entry.id for entry in changes.entries]
        after, more = changes.upto, changes.more
    return found


def insist(process: Lane, store: Store, told: list[str]) -> None:
    """Have a process write row after row, and note of which it was told."""

    async def write() -> None:
        for n in count():
            await store.commit(batch(put(f"{n}")))
            told.append(f"{n}")
            await asyncio.sleep(0.05)

    process.start(write())


# What a death leaves.


async def test_a_killed_process_leaves_what_it_was_told_is_written() -> None:
    machine, told = Machine(), list[str]()
    for _ in range(20):
        process, store = await machine.opened()
        insist(process, store, told)
        await asyncio.sleep(machine.disk.draws.between(0.0, 0.2))
        machine.kill(process)
    _, store = await machine.opened()
    left = await rows(store)
    assert set(told) <= set(left)
    assert len(left) <= len(told) + 20


@pytest.mark.parametrize(
    ("point", "left", "acknowledged"),
    [
        pytest.param("store.before_commit", [], [], id="in it, which leaves nothing of it"),
        pytest.param("store.after_commit", ["1"], [False], id="right after it"),
    ],
)
async def test_a_process_killed_at_a_transaction_was_not_told_of_it(
    point: str, left: list[str], acknowledged: list[bool]
) -> None:
    machine = Machine()
    process, store = await machine.opened()
    fault_point.arm(lambda passed: machine.kill(process) if passed == point else None)
    try:
        writing = process.start(store.commit(batch(put("1"))))
        await asyncio.sleep(1)
    finally:
        fault_point.arm(None)
    _, store = await machine.opened()
    assert await rows(store) == left
    assert not writing.done()
    assert [commit.acknowledged for commit in machine.commits] == acknowledged


LAST: dict[str, Callable[[SqliteStore], Awaitable[object]]] = {
    "commit": lambda store: store.commit(batch(put("1"))),
    "load": lambda store: store.load("orders", "1"),
    "count": lambda store: store.count("orders", Query()),
    "trim": lambda store: store.trim(1.0, keep_after=0),
    "close": lambda store: store.close(),
}


@pytest.mark.parametrize("verb", LAST)
async def test_the_last_moments_of_a_dead_process_do_not_reach_the_disk(verb: str) -> None:
    """Code that is killed at a fault point goes on until it waits for something."""
    machine, went_on = Machine(), list[str]()
    process, store = await machine.opened()

    async def die() -> None:
        machine.kill(process)
        went_on.append("until it waits")
        await LAST[verb](store)
        went_on.append("further")

    process.start(die())
    await asyncio.sleep(10)
    machine.darken(process)
    _, again = await machine.opened()
    assert went_on == ["until it waits"]
    assert await rows(again) == []


# What a power cut leaves.


@pytest.mark.parametrize("seed", range(10))
async def test_with_full_a_power_cut_takes_nothing_that_was_told(seed: int) -> None:
    machine, told = Machine(seed), list[str]()
    log_ids = set[str]()
    for _ in range(10):
        process, store = await machine.opened()
        log_ids.add(store.log_id)
        insist(process, store, told)
        await asyncio.sleep(machine.disk.draws.between(0.0, 0.2))
        machine.darken(process)
    _, store = await machine.opened()
    left = await rows(store)
    assert set(told) <= set(left)
    assert log_ids == {store.log_id}


async def test_with_full_commits_under_way_may_turn_out_to_be_there() -> None:
    """Some of them, the first ones, and never others than those that were asked for."""
    found = set[int]()
    for seed in range(40):
        machine = Machine(seed)
        process, store = await machine.opened()
        for n in range(3):
            process.start(store.commit(batch(put(f"{n}"))))
        await asyncio.sleep(BLINK)
        machine.darken(process)
        _, again = await machine.opened()
        left = await rows(again)
        assert left == ["0", "1", "2"][: len(left)]
        assert [commit.ids for commit in machine.commits] == [(id,) for id in left]
        found.add(len(left))
    assert found == {0, 1, 2, 3}


async def test_with_full_nobody_sees_what_may_still_be_taken() -> None:
    machine = Machine()
    process, store = await machine.opened()
    machine.disk.factor = 1000.0
    process.start(store.commit(batch(put("1"))))
    await asyncio.sleep(BLINK)
    machine.disk.factor = 1.0
    await asyncio.sleep(0.01)
    assert await store.load("orders", "1") is None
    await asyncio.sleep(5)
    assert await store.load("orders", "1") is not None


async def test_a_refused_commit_under_way_stays_refused() -> None:
    for seed in range(10):
        machine = Machine(seed)
        process, store = await machine.opened()
        process.start(store.commit(batch(put("1", expected=7))))
        await asyncio.sleep(BLINK)
        machine.darken(process)
        _, again = await machine.opened()
        assert await rows(again) == []


@pytest.mark.parametrize("seed", range(10))
async def test_with_normal_a_power_cut_takes_the_last_moments_only(seed: int) -> None:
    machine, told = Machine(seed), list[str]()
    process, store = await machine.opened("normal")
    log_id = store.log_id
    insist(process, store, told)
    await asyncio.sleep(12)
    safe = list(told)
    await asyncio.sleep(WRITE_BACK_SECONDS)
    machine.darken(process)
    _, again = await machine.opened("normal")
    left = await rows(again)
    assert left == told[: len(left)]
    assert set(safe) <= set(left)
    assert len(left) < len(told)
    assert again.log_id != log_id


async def test_with_normal_what_was_written_long_ago_is_safe() -> None:
    """Also where nobody has written since."""
    machine = Machine()
    process, store = await machine.opened("normal")
    await store.commit(batch(put("1")))
    await asyncio.sleep(WRITE_BACK_SECONDS + 1)
    await store.commit(batch(put("2")))
    machine.darken(process)
    _, again = await machine.opened("normal")
    assert await rows(again) == ["1"]


async def test_with_normal_a_killed_process_loses_nothing() -> None:
    machine = Machine()
    process, store = await machine.opened("normal")
    await store.commit(batch(put("1")))
    machine.kill(process)
    _, again = await machine.opened("normal")
    assert await rows(again) == ["1"]
    assert again.log_id == store.log_id


async def test_with_normal_what_a_store_that_was_closed_has_written_is_safe() -> None:
    machine = Machine()
    process, store = await machine.opened("normal")
    await store.commit(batch(put("1")))
    await process.start(store.close())
    machine.darken(process)
    _, again = await machine.opened("normal")
    assert await rows(again) == ["1"]


async def test_a_file_that_was_opened_as_full_may_be_opened_as_normal() -> None:
    machine = Machine()
    process, store = await machine.opened("full")
    await store.commit(batch(put("1")))
    machine.kill(process)
    process, store = await machine.opened("normal")
    machine.darken(process)
    _, again = await machine.opened("normal")
    assert await rows(again) == ["1"]


@pytest.mark.parametrize("synchronous", ["normal", "full"])
async def test_a_disk_that_lies_loses_all_since_it_began_to(synchronous: Synchronous) -> None:
    machine = Machine()
    process, store = await machine.opened(synchronous)
    await store.commit(batch(put("1")))
    await asyncio.sleep(10)
    machine.disk.lie()
    await store.commit(batch(put("2")))
    await asyncio.sleep(100)
    await store.commit(batch(put("3")))
    other = machine.store(process, synchronous, "b.db")
    await process.start(other.open([ORDERS]))
    await other.commit(batch(put("4")))
    machine.darken(process)
    process, again = await machine.opened(synchronous)
    await again.commit(batch(put("5")))
    assert await rows(again) == ["1", "5"]
    machine.kill(process)
    assert not machine.disk.lying
    other = machine.store(process := machine.process(), synchronous, "b.db")
    await process.start(other.open([ORDERS]))
    assert await rows(other) == []


async def test_the_power_gives_a_machine_another_boot() -> None:
    machine = Machine()
    first = machine.disk.boot()
    machine.disk.killed()
    assert machine.disk.boot() == first
    machine.disk.darkened()
    assert machine.disk.boot() != first


# A full disk, a slow one, and many who want something of it.


async def test_a_full_disk_refuses_and_heals() -> None:
    machine = Machine()
    _, store = await machine.opened()
    machine.disk.fill(full=True)
    with pytest.raises(Unavailable, match="full"):
        await store.commit(batch(put("1", sku="x" * 50_000)))
    assert await rows(store) == []
    machine.disk.fill(full=False)
    await store.commit(batch(put("2", sku="x" * 50_000)))
    assert await rows(store) == ["2"]


async def test_a_full_disk_is_full_after_a_power_cut_as_well() -> None:
    machine = Machine()
    process, store = await machine.opened("normal")
    await store.commit(batch(put("1", sku="x" * 50_000)))
    machine.disk.fill(full=True)
    machine.darken(process)
    _, again = await machine.opened("normal")
    with pytest.raises(Unavailable, match="full"):
        await again.commit(batch(put("2", sku="x" * 50_000)))


async def test_a_full_disk_takes_no_new_file() -> None:
    machine = Machine()
    machine.disk.fill(full=True)
    with pytest.raises((CouldNotStart, Unavailable), match="full"):
        await machine.opened()


async def test_commits_come_one_after_the_other_and_take_two_accesses_each() -> None:
    machine = Machine()
    _, store = await machine.opened()
    machine.disk.low = machine.disk.high = 0.5
    began = machine.loop.now
    await asyncio.gather(*(store.commit(batch(put(f"{n}"))) for n in range(5)))
    assert machine.loop.now - began == pytest.approx(5.0 + 0.1)
    assert await rows(store) == ["0", "1", "2", "3", "4"]


async def test_reads_of_a_few_rows_wait_for_nobody() -> None:
    machine = Machine()
    _, store = await machine.opened()
    machine.disk.low = machine.disk.high = 0.5
    writing = machine.process().start(store.commit(batch(put("1"))))
    began = machine.loop.now
    assert await store.load("orders", "1") is None
    assert machine.loop.now - began == pytest.approx(0.1)
    await writing


async def test_reads_of_a_disk_that_is_near_and_fast_take_no_time() -> None:
    machine = Machine()
    _, store = await machine.opened()
    machine.disk.far = False
    began = machine.loop.now
    assert await store.load("orders", "1") is None
    assert machine.loop.now == began
    machine.disk.factor = 3.0
    assert await store.load("orders", "1") is None
    assert machine.loop.now > began


async def test_only_so_many_commits_wait() -> None:
    machine = Machine()
    process, store = await machine.opened()
    waiting = [process.start(store.commit(batch(emit(f"{n}")))) for n in range(COMMITS_MAX)]
    await asyncio.sleep(BLINK)
    with pytest.raises(Overloaded, match=f"{COMMITS_MAX} commits"):
        await store.commit(batch(put("1")))
    assert not any(writing.done() for writing in waiting)


# Whoever waits for a commit.


async def test_who_gives_up_a_commit_does_not_stop_it() -> None:
    """A thread that writes does not stop either."""
    machine = Machine()
    process, store = await machine.opened()
    heard = list[int]()
    store.listen(lambda: heard.append(1))
    writing = process.start(store.commit(batch(put("1"))))
    await asyncio.sleep(BLINK)
    writing.cancel()
    await asyncio.sleep(1)
    assert await rows(store) == ["1"]
    assert heard == [1]
    assert [commit.acknowledged for commit in machine.commits] == [False]


async def test_who_gives_up_a_refused_commit_hears_nothing() -> None:
    machine = Machine()
    process, store = await machine.opened()
    writing = process.start(store.commit(batch(put("1", expected=3))))
    await asyncio.sleep(BLINK)
    writing.cancel()
    await asyncio.sleep(1)
    assert machine.loop.errors == []
    with pytest.raises(NotFound):
        await store.commit(batch(put("1", expected=3)))


async def test_closing_waits_for_commits_under_way() -> None:
    machine = Machine()
    process, store = await machine.opened()
    writing = [process.start(store.commit(batch(put(f"{n}")))) for n in range(3)]
    await asyncio.sleep(BLINK)
    await process.start(store.close())
    assert [commit.ids for commit in machine.commits if not commit.acknowledged] == [("0",), ("1",), ("2",)]
    await asyncio.gather(*writing)


async def test_the_other_processes_of_a_disk_hear_of_commits() -> None:
    machine = Machine()
    one, writing = await machine.opened()
    other, reading = await machine.opened()
    heard = list[tuple[str, float]]()
    reading.listen(lambda: heard.append((machine.loop.lane.name, machine.loop.now)))
    await one.start(writing.commit(batch(put("1"))))
    began = machine.loop.now
    await asyncio.sleep(1)
    ((name, moment),) = heard
    assert name == other.name
    assert moment - began <= WAKE_SECONDS
    assert (await reading.load("orders", "1")) is not None
    await other.start(reading.close())
    await one.start(writing.commit(batch(put("2"))))
    await asyncio.sleep(1)
    assert len(heard) == 1


async def test_a_dead_process_is_not_woken() -> None:
    machine = Machine()
    one, writing = await machine.opened()
    other, reading = await machine.opened()
    heard = list[float]()
    reading.listen(lambda: heard.append(machine.loop.now))
    await one.start(writing.commit(batch(put("1"))))
    other.kill()
    await asyncio.sleep(1)
    assert heard == []


async def test_a_process_may_stop_before_there_is_a_file() -> None:
    machine = Machine()
    await DiskDesk(machine.disk, "none.db", machine.process()).stop()
    assert machine.disk.files == {}


class TestStoreOnASimulatedDisk(StoreSuite):
    """Every promise of a store, in virtual time."""

    machines: "dict[Store, Machine]"
    names = count()

    def fresh(self, machine: Machine, path: str) -> SqliteStore:
        store = machine.store(machine.loop.home, "full", path)
        if not hasattr(self, "machines"):
            self.machines = {}
        self.machines[store] = machine
        return store

    async def make(self) -> Store:
        return self.fresh(Machine(), f"{next(self.names)}.db")

    async def reopen(self, store: Store) -> Store:
        return self.fresh(self.machines[store], cast("SqliteStore", store)._path)


async def test_collections_that_are_added_later_are_kept_in_a_power_cut() -> None:
    machine = Machine()
    process, store = await machine.opened()
    await process.start(store.close())
    process = machine.process()
    store = machine.store(process)
    await process.start(store.open([ORDERS, CollectionSchema("others", {})]))
    log_id = store.log_id
    machine.darken(process)
    _, again = await machine.opened()
    assert again.log_id == log_id
