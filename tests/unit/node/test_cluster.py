"""Several instances of a service over one store: one holds a lock, one leads, one does the duty; the others wait."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.faults import Conflict
from hanse.kernel.host import Host
from hanse.kernel.process import Process
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Created, Existing, Updated
from hanse.service.cluster import LEADER_SECONDS, Leader, Lock
from hanse.service.collection import Collection
from hanse.service.held import Held
from hanse.service.leases import Grant, LeaseLost, LeaseTaken, StoredLeases
from hanse.service.local import LocalCollection
from hanse.service.reaction import every, on, rule
from hanse.service.service import Service
from hanse.store.base import Batch, Position, Store
from hanse.store.sqlite import InlineDesk, SqliteStore
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time


class Note(Resource):
    text: str = ""
    by: int = 0


class Ran(Resource):
    at: float = 0.0


class Told(Event):
    seconds: float = 0.0


class Writer(Service, events=(Told,)):
    notes: Collection[Note]
    ran: Collection[Ran]
    lock: Lock
    leader: Leader

    @rpc
    async def add(self, id: str, seconds: float, fail: bool = False) -> str:
        """Read, take some time, and write; nobody comes in between."""
        async with self.lock.hold(id, lease="10s", wait="1m") as held:
            there = [note async for note in self.notes.scan(lambda note: note.id == id)]
            await asyncio.sleep(seconds)
            text = (there[0].text if there else "") + "x"
            await self.notes.put(Note(id=id, text=text, by=held.token, rev=there[0].rev if there else 0))
        if fail:
            raise Conflict("after the block")
        return text

    @rule(Note, where=lambda note: note.text == "new")
    async def see(self, note: Held[Note]) -> None:
        await note.patch(text="seen")

    @rpc
    async def tell(self, seconds: float = 0.0) -> None:
        await self.emit(Told(seconds=seconds))

    @on(Told)
    async def hear(self, told: Told) -> None:
        await asyncio.sleep(told.seconds)

    @every("10s")
    async def tick(self) -> None:
        await self.ran.create(Ran(at=asyncio.get_running_loop().time()))


class SharedDesk(InlineDesk):
    """One thread, and others may write to the file: so the store looks for what they do."""

    threaded: bool = True


def shared(url: str) -> Store:
    return SqliteStore(url.removeprefix("sqlite:///"), desk=SharedDesk())


APP = App("notes", Writer)


class Instances:
    """Nodes of one app over one file."""

    def __init__(self, folder: Path, host: Host) -> None:
        settings = Settings(node=NodeSettings(store=f"sqlite:///{folder}", grace=2.0))
        self.one, self.two = (
            Node(APP, settings, host=host, transport=MemoryTransport(), stores=shared) for _ in range(2)
        )

    async def is_held(self, name: str = "leader/duty") -> bool:
        node = self.one if self.one.hosted else self.two
        return await node.hosted[0].store.position(f"lease/{name}") % 2 == 1


@pytest.fixture
async def instances(tmp_path: Path, host: Host) -> Instances:
    return Instances(tmp_path, host)


@pytest.fixture
async def leases(tmp_path: Path, host: Host) -> AsyncIterator[tuple[StoredLeases, StoredLeases]]:
    """The leases of one file, as two processes see them."""
    stores = [SqliteStore(str(tmp_path / "one.db"), desk=SharedDesk(), host=host) for _ in range(2)]
    notes = LocalCollection(Note, stores[0])

    for store in stores:
        await store.open([notes.schema])
    yield StoredLeases(stores[0], host), StoredLeases(stores[1], host)
    for store in stores:
        await store.close()


Pair = tuple[StoredLeases, StoredLeases]


# Leases


async def test_a_lease_is_one_process_s_until_it_is_given_back(leases: Pair) -> None:
    mine, other = leases
    first = await mine.acquire("x", seconds=10.0)
    assert first is not None
    assert await other.acquire("x", seconds=10.0) is None
    await mine.release(first)
    second = await other.acquire("x", seconds=10.0)
    assert second is not None
    assert second.token > first.token


async def test_a_holder_without_a_sign_of_life_is_succeeded(leases: Pair) -> None:
    mine, other = leases
    first = await mine.acquire("x", seconds=10.0)
    assert first is not None
    second = await other.wait("x", seconds=10.0, limit=30.0)
    assert not first.holds()
    assert second.token > first.token
    with pytest.raises(LeaseLost):
        await mine.renew(first)
    await mine.release(first)
    assert await mine.acquire("x", seconds=10.0) is None


async def test_a_holder_that_renews_is_not_succeeded(leases: Pair) -> None:
    mine, other = leases
    first = await mine.acquire("x", seconds=10.0)
    assert first is not None
    head = await mine.store.head()
    for _ in range(10):
        await asyncio.sleep(5.0)
        await mine.renew(first)
        assert await other.acquire("x", seconds=10.0) is None
    assert await mine.store.head() == head


async def test_what_a_holder_commits_that_was_succeeded_is_refused(leases: Pair, host: Host) -> None:
    """As of a process that was stopped: its own clock has not told it yet."""
    mine, other = leases
    first = await mine.acquire("x", seconds=10.0)
    assert first is not None
    _ = await other.wait("x", seconds=10.0)
    first.until = host.monotonic() + 99.0
    notes = LocalCollection(Note, mine.store)
    with pytest.raises(LeaseLost):
        async with first.unit():
            await notes.put(Note(id="1", text="late"))
    assert await notes.count() == 0
    with pytest.raises(LeaseLost):
        await mine.renew(first)
    assert not first.holds()


async def test_a_lease_is_not_waited_for_in_vain(leases: Pair) -> None:
    mine, other = leases
    assert await mine.acquire("x", seconds=100.0)
    with pytest.raises(LeaseTaken):
        _ = await other.wait("x", seconds=1.0, limit=5.0)


class Generations:
    """The processes of one machine: those before this one have ended."""

    def __init__(self, own: Process) -> None:
        self.own: Process | None = own

    def has_ended(self, process: Process, /) -> bool:
        assert self.own is not None
        return process.machine == self.own.machine and process.life < self.own.life


def host_of(host: Host, machine: int, life: int) -> Host:
    processes = Generations(Process(machine, life))
    clocks = {"now": host.now, "monotonic": host.monotonic}
    return Host(host.name, **clocks, chance=host.chance, entropy=host.entropy, processes=processes)


async def test_a_holder_whose_process_has_ended_is_succeeded_at_once(leases: Pair, host: Host) -> None:
    stores = [one.store for one in leases]
    first, next_one = (StoredLeases(store, host_of(host, 1, life)) for life, store in enumerate(stores))
    lost = await first.acquire("x", seconds=100.0)
    assert lost is not None
    got = await next_one.acquire("x", seconds=100.0)
    assert got is not None
    assert got.token > lost.token
    with pytest.raises(LeaseLost):
        await first.renew(lost)
    # A process that is there is waited for, whoever it is.
    assert await first.acquire("x", seconds=100.0) is None


async def test_a_process_of_another_machine_is_waited_for(leases: Pair, host: Host) -> None:
    stores = [one.store for one in leases]
    first, other = (StoredLeases(store, host_of(host, machine, machine)) for machine, store in enumerate(stores))
    assert await first.acquire("x", seconds=100.0)
    assert await other.acquire("x", seconds=100.0) is None


# Locks


async def test_of_two_handlers_each_reads_what_the_other_wrote(instances: Instances) -> None:
    async with instances.one, instances.two, asyncio.TaskGroup() as group:
        for node in (instances.one, instances.two) * 3:
            group.create_task(node.client(Writer).add("1", 1.0))
    async with instances.one:
        note = await instances.one.collection(Note).get("1")
        assert note.text == "x" * 6


async def test_a_block_that_takes_too_long_is_cancelled_and_gives_the_lock_back(leases: Pair) -> None:
    mine, other = leases
    with pytest.raises(LeaseLost):
        async with Lock("files", mine).hold("1", lease="1s"):
            await asyncio.sleep(5.0)
    async with Lock("files", other).hold("1", wait=0.001) as held:
        held.check()


async def test_a_time_out_of_the_block_s_own_is_no_lost_lease(leases: Pair) -> None:
    with pytest.raises(TimeoutError):
        async with Lock("files", leases[0]).hold("1"):
            raise TimeoutError


async def test_a_handler_that_fails_after_its_block_writes_nothing_and_keeps_the_lock_for_its_lease(
    instances: Instances,
) -> None:
    async with instances.one:
        with pytest.raises(Conflict, match="after the block"):
            await instances.one.client(Writer).add("1", 0.0, fail=True)
        await asyncio.sleep(10.0)
        assert await instances.one.client(Writer).add("1", 0.0) == "x"


# Leaders


async def test_one_leads_and_the_next_one_when_it_is_done(instances: Instances) -> None:
    led: list[int] = []

    async def body(grant: Grant) -> None:
        led.append(grant.token)
        await asyncio.sleep(60.0)
        led.append(grant.token)

    async with instances.one as one, instances.two as two, asyncio.TaskGroup() as group:
        for node in (one, two):
            instance = node.hosted[0].instance
            assert isinstance(instance, Writer)
            group.create_task(instance.leader.lead(body))
    first, again, second, last = led
    assert first == again < second == last


async def test_a_leader_that_was_succeeded_is_cancelled_and_waits_for_its_turn(
    leases: Pair, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    mine, other = leases
    leader, led, ended = Leader("x", mine), asyncio.Event(), asyncio.Event()

    async def body(grant: Grant) -> None:
        led.set()
        try:
            await asyncio.sleep(1_000.0)
        finally:
            ended.set()

    async with Tasks(lambda error: None) as tasks:
        tasks.start(leader.lead(body))
        await led.wait()
        assert leader.is_leading
        # Somebody takes it by force, as after a pause that this process has not noticed.
        _ = await other.store.commit(Batch(0.0, positions=(Position("lease/leader/x", 9),)))
        async with asyncio.timeout(LEADER_SECONDS):
            await ended.wait()
        assert not leader.is_leading
        led.clear()
        async with asyncio.timeout(3 * LEADER_SECONDS):
            await led.wait()
    assert "another's turn" in caplog.text


class SlowDesk(SharedDesk):
    """One that takes its time once it is told to, as a disk may."""

    seconds: float = 0.0

    async def write(self, batch: Batch) -> tuple[int, ...]:
        await asyncio.sleep(self.seconds)
        return await super().write(batch)


@pytest.mark.parametrize("late", [0.0, 1.0], ids=["renewed in vain", "renewed too late"])
async def test_a_leader_whose_body_is_slow_to_leave_may_not_be_renewed_meanwhile(
    late: float, tmp_path: Path, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    desk = SlowDesk()
    store = SqliteStore(str(tmp_path / "slow.db"), desk=desk, host=host)
    await store.open([])
    leader, ended = Leader("x", StoredLeases(store, host)), asyncio.Event()

    async def body(grant: Grant) -> None:
        desk.seconds = LEADER_SECONDS * 2
        try:
            await asyncio.sleep(1_000.0)
        finally:
            grant.until += late * 1_000.0
            await asyncio.sleep(LEADER_SECONDS * 2)
            desk.seconds = 0.0
            ended.set()

    async with Tasks(lambda error: None) as tasks:
        leading = tasks.start(leader.lead(body))
        async with asyncio.timeout(LEADER_SECONDS * 9):
            await ended.wait()
        leading.cancel()
    await store.close()
    assert "is not renewed" not in caplog.text


# The duty


async def test_schedules_run_once_for_all_instances_and_on_by_the_next(instances: Instances) -> None:
    async with instances.two as two:
        async with instances.one:
            await asyncio.sleep(95.0)
            assert await two.collection(Ran).count() == 9
        await asyncio.sleep(95.0)
        assert 17 <= await two.collection(Ran).count() <= 18


async def test_a_schedule_goes_on_where_the_instance_before_left_it(instances: Instances) -> None:
    """Starts that come more often than the period neither put it off nor repeat it."""
    for _ in range(6):
        async with instances.one:
            await asyncio.sleep(5.0)
        async with instances.two:
            await asyncio.sleep(3.0)
    async with instances.one as one:
        async with asyncio.timeout(1.0):
            await _on_duty(instances)
        await asyncio.sleep(0.5)
        assert {schedule.name: schedule.missed for schedule in (await one.figures()).schedules} == {"writer.tick": 0}
        ran = sorted([row.at async for row in one.collection(Ran).scan()])
        assert len(ran) == 4
        assert all(9.0 < later - earlier < 11.0 for earlier, later in pairwise(ran))


async def test_a_rule_goes_on_by_another_instance_when_its_own_stops(instances: Instances) -> None:
    async with instances.two as two:
        async with instances.one as one:
            await one.collection(Note).put(Note(id="1", text="new"))
            await _seen(two, "1")
        await two.collection(Note).put(Note(id="2", text="new"))
        await _seen(two, "2")


async def test_the_duty_is_one_lease_that_is_given_back(instances: Instances) -> None:
    async with instances.one:
        await asyncio.sleep(1.0)
        assert await instances.is_held()
    async with instances.two:
        async with asyncio.timeout(1.0):
            await _on_duty(instances)


async def test_the_duty_is_asked_for_again_after_a_failure(
    instances: Instances, caplog: pytest.LogCaptureFixture
) -> None:
    async with instances.one as one:
        await asyncio.sleep(1.0)
        store = one.hosted[0].store
        await store.close()
        await asyncio.sleep(60.0)
        await store.open(one.hosted[0].schemas())
        await asyncio.sleep(2 * LEADER_SECONDS)
        assert await instances.is_held()
    assert "is tried again" in caplog.text


async def test_each_message_is_delivered_by_one_instance(instances: Instances) -> None:
    async with instances.one as one, instances.two as two:
        for node in (one, two) * 3:
            await node.client(Writer).tell()
        async with asyncio.timeout(10.0):
            await asyncio.gather(one.settle(), two.settle())
        assert sorted([await _delivered(one), await _delivered(two)]) == [0, 6]


async def test_who_settles_waits_for_the_instance_that_delivers(instances: Instances) -> None:
    async with instances.one as one, instances.two as two:
        async with asyncio.timeout(5.0):
            await _on_duty(instances)
        await two.client(Writer).tell(3.0)
        await asyncio.sleep(0.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.9):
                await asyncio.gather(one.settle(), two.settle())
        assert [await _lag(one), await _lag(two)] == [1, 1]
        async with asyncio.timeout(5.0):
            await asyncio.gather(one.settle(), two.settle())
        assert [await _lag(one), await _lag(two)] == [0, 0]


async def test_what_was_not_delivered_at_a_stop_is_by_the_next_instance(instances: Instances) -> None:
    async with instances.two as two:
        async with instances.one as one:
            await one.client(Writer).tell()
        await two.client(Writer).tell()
        async with asyncio.timeout(10.0):
            await two.settle()
        assert await _delivered(two) >= 1


async def test_who_stops_without_the_duty_waits_for_nobody(instances: Instances) -> None:
    async with instances.one as one:
        async with asyncio.timeout(5.0):
            await _on_duty(instances)
        async with instances.two as two:
            await one.client(Writer).tell(20.0)
            async with asyncio.timeout(1.0):
                await two.stop()
        async with asyncio.timeout(30.0):
            await one.settle()


async def _delivered(node: Node) -> int:
    return (await node.figures()).calls.get(("on/writer.hear.handle", ""), 0)


async def _lag(node: Node) -> int:
    return (await node.health())["relay:writer/writer.hear"].lag


async def _on_duty(instances: Instances) -> None:
    while not await instances.is_held():  # noqa: ASYNC110 - nothing tells of a lease
        await asyncio.sleep(0.05)


async def _seen(node: Node, id: str) -> None:
    async with asyncio.timeout(20.0):
        async for item in node.collection(Note).follow(lambda note: note.text == "seen"):
            match item:
                case Existing(value=note) | Created(after=note) | Updated(after=note) if note.id == id:
                    return
                case _:
                    pass


class LateDesk(SharedDesk):
    """Tells of what it wrote some turns of the loop later, as one of threads does under load."""

    async def write(self, batch: Batch) -> tuple[int, ...]:
        positions = await super().write(batch)
        for _ in range(3):
            await asyncio.sleep(0)
        return positions


@pytest.mark.parametrize("turns", range(12))
async def test_a_node_that_is_stopped_while_it_takes_the_duty_stops_at_once(
    turns: int, tmp_path: Path, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", grace=2.0))
    node = Node(
        APP,
        settings,
        host=host,
        transport=MemoryTransport(),
        stores=lambda url: SqliteStore(url.removeprefix("sqlite:///"), desk=LateDesk()),
    )
    await node.start()
    for _ in range(turns):
        await asyncio.sleep(0)
    await node.stop()
    assert not caplog.messages
