"""A world's own disk and desk: files that outlive their processes, accesses that take time or fail, boots that end."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar, cast

import pytest

from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import Batch, Features, Store
from hanse.store.query import Compare, Query
from hanse.store.sqlite import InlineDesk, SqliteStore, ThreadDesk
from hanse.store.sqlite.boots import LOST_MAX
from hanse.store.sqlite.desk import Apply, Heard, Stopped
from hanse.store.sqlite.disk import Disk, LocalDisk
from hanse.store.sqlite.tables import connect
from hanse.testing.store import StoreSuite
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

T = TypeVar("T")
HOST = Host.fixed(wall=1_700_000_000.0, seed=7)


class MemoryDisk:
    """Files of one simulated machine: each one connection, which stays when whoever used it is gone."""

    def __init__(self) -> None:
        self.files: dict[str, sqlite3.Connection] = {}
        self.users = 0
        self.boots = 1
        self.error = ""

    def connect(self, path: str, synchronous: str, /) -> sqlite3.Connection:
        if self.error:
            raise sqlite3.OperationalError(self.error)
        if path not in self.files:
            self.files[path] = connect(":memory:", synchronous=synchronous)
        self.users += 1
        return self.files[path]

    def release(self, connection: sqlite3.Connection, /) -> None:
        assert connection in self.files.values()
        self.users -= 1

    def boot(self) -> str:
        return f"boot-{self.boots}"

    def close(self) -> None:
        for connection in self.files.values():
            connection.close()


class SlowDesk:
    """Lets every access take a turn of the loop, or fail; tells the others of what is committed here."""

    threaded = False
    reads_at_once = False

    def __init__(self) -> None:
        self.accesses: list[str] = []
        self.failing = False
        self.others: list[SlowDesk] = []

    def start(self, apply: Apply, committed: Heard) -> None:
        self._apply = apply
        self.committed = committed

    async def write(self, batch: Batch) -> tuple[int, ...]:
        await self._access("write")
        (outcome,) = self._apply((batch,))
        await self._access("flush")
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            self.committed((batch,))
            for desk in self.others:
                desk.committed(None)
        return outcome

    async def call(self, job: Callable[[], T]) -> T:
        await self._access("call")
        return job()

    async def read(self, job: Callable[[], T]) -> T:
        await self._access("read")
        return job()

    async def scan(self, job: Callable[[Stopped], T]) -> T:
        await self._access("scan")
        return job(lambda: False)

    async def stop(self) -> None: ...

    async def _access(self, name: str) -> None:
        self.accesses.append(name)
        await asyncio.sleep(0)
        if self.failing:
            raise Unavailable("the disk does not answer")


class TestOnASimulatedDisk(StoreSuite):
    """Every promise of a store holds on it, whatever its paths are."""

    names = count()
    disk = MemoryDisk()

    async def make(self) -> Store:
        return self.store(f"{next(self.names)}.db")

    async def reopen(self, store: Store) -> Store:
        return self.store(cast("SqliteStore", store)._path)

    def store(self, path: str) -> SqliteStore:
        return SqliteStore(path, desk=SlowDesk(), disk=self.disk)

    @classmethod
    def teardown_class(cls) -> None:
        cls.disk.close()


@pytest.fixture
def disk() -> "MemoryDisk":
    return MemoryDisk()


@pytest.fixture(autouse=True)
def _closed(disk: MemoryDisk) -> object:
    yield
    disk.close()


async def opened(disk: Disk, desk: SlowDesk | InlineDesk | None = None, *, path: str = ":memory:") -> SqliteStore:
    store = SqliteStore(path, desk=desk or InlineDesk(), disk=disk, host=HOST)
    await store.open([ORDERS, NOTES])
    return store


VERBS: dict[str, Callable[[SqliteStore], Awaitable[object]]] = {
    "load": lambda store: store.load("orders", "1"),
    "find": lambda store: store.find("orders", Query()),
    "find where": lambda store: store.find("orders", Query(Compare("eq", ("sku",), "tea"))),
    "count": lambda store: store.count("orders", Query()),
    "commit": lambda store: store.commit(batch(put("2"))),
    "marked": lambda store: store.marked("a", "b"),
    "position": lambda store: store.position("a"),
    "head": lambda store: store.head(),
    "changes": lambda store: store.changes(0, limit=10),
    "trim": lambda store: store.trim(0.0, keep_after=0),
}


class TestTheLane:
    @pytest.mark.parametrize("verb", VERBS)
    async def test_no_access_goes_past_it(self, disk: MemoryDisk, verb: str) -> None:
        store = await opened(disk, desk := SlowDesk())
        await store.commit(batch(put("1")))
        statements: list[str] = []
        disk.files[":memory:"].set_trace_callback(statements.append)
        desk.failing = True
        with pytest.raises(Unavailable, match="does not answer"):
            await VERBS[verb](store)
        assert statements == []
        desk.failing = False
        desk.accesses.clear()
        await VERBS[verb](store)
        assert statements != []
        assert desk.accesses == {"commit": ["write", "flush"], "trim": ["call"]}.get(
            verb, ["scan" if verb in {"find where", "count"} else "read"]
        )
        await store.close()

    async def test_a_read_that_comes_after_the_store_was_closed_says_so(self, disk: MemoryDisk) -> None:
        store = await opened(disk, SlowDesk())
        async with asyncio.TaskGroup() as group:
            reads = [group.create_task(_refusal(verb(store))) for name, verb in VERBS.items() if "w" not in name]
            await store.close()
        assert {task.result() for task in reads} <= {"", "the store is closed: open it first"}

    async def test_our_own_read_at_once(self, disk: MemoryDisk) -> None:
        assert (InlineDesk().reads_at_once, ThreadDesk().reads_at_once) == (True, True)
        assert await InlineDesk().read(lambda: 7) == await ThreadDesk().read(lambda: 7) == 7

    async def test_it_wakes_those_who_listen_to_another_store_of_the_file(self, disk: MemoryDisk) -> None:
        one, other = await opened(disk, mine := SlowDesk()), await opened(disk, theirs := SlowDesk())
        mine.others = [theirs]
        woken: list[str] = []
        one.listen(lambda: woken.append("one"))
        other.listen(lambda: woken.append("other"))
        await one.commit(batch(put("1")))
        for _ in range(3):
            await asyncio.sleep(0)
        assert woken == ["one", "other"]
        assert await other.load("orders", "1") == await one.load("orders", "1")
        await one.close()
        await other.close()


async def _refusal(verb: Awaitable[object]) -> str:
    try:
        await verb
    except Unavailable as fault:
        return fault.detail
    return ""


class TestTheDisk:
    async def test_it_makes_memory_durable(self, disk: MemoryDisk) -> None:
        assert SqliteStore(":memory:").features == Features(durable=False, shared=False)
        assert SqliteStore(":memory:", disk=disk).features == Features(durable=True, shared=False)
        store = await opened(disk)
        await store.commit(batch(put("1")))
        await store.close()
        again = await opened(disk)
        assert (await again.head(), again.log_id) == (1, store.log_id)
        await again.close()

    async def test_memory_is_not_for_threads_whoever_has_the_disk(self, disk: MemoryDisk) -> None:
        with pytest.raises(Misconfigured, match="for threads to share"):
            SqliteStore(":memory:", desk=ThreadDesk(), disk=disk)

    async def test_whatever_was_connected_is_released_once(self, disk: MemoryDisk) -> None:
        store = await opened(disk, path="orders.db")
        assert disk.users == 1
        await store.close()
        await store.close()
        assert disk.users == 0

    async def test_a_store_that_cannot_be_opened_releases_what_it_had(self, disk: MemoryDisk) -> None:
        disk.files["other.db"] = other = sqlite3.connect(":memory:", isolation_level=None)
        other.execute("CREATE TABLE users (name TEXT)")
        with pytest.raises(CouldNotStart, match="something else"):
            await opened(disk, path="other.db")
        assert disk.users == 0

    async def test_an_error_of_it_names_no_folder_of_this_machine(self, disk: MemoryDisk) -> None:
        disk.error = "disk I/O error"
        with pytest.raises(CouldNotStart) as caught:
            await opened(disk, path="nowhere/orders.db")
        assert str(caught.value) == (
            "cannot open the store nowhere/orders.db: disk I/O error; "
            "is it a Hanse store, and may this user write to it?"
        )

    async def test_a_machine_that_went_down_starts_another_log(self, disk: MemoryDisk) -> None:
        killed = await opened(disk)
        await killed.commit(batch(put("1")))
        again = await opened(disk)
        assert (await again.head(), again.log_id) == (1, killed.log_id), "a process that is killed changes nothing"
        disk.boots += 1
        booted = await opened(disk)
        assert await booted.head() == 1 + LOST_MAX
        assert booted.log_id != killed.log_id
        await booted.close()

    def test_the_machines_own_gives_each_its_connection(self) -> None:
        local = LocalDisk()
        one, other = local.connect(":memory:", "full"), local.connect(":memory:", "full")
        assert one is not other
        local.release(one)
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            one.execute("SELECT 1")
        local.release(other)
