"""A rule runs for each row that matches, one run at a time, and nothing is forgotten."""

import asyncio
import random  # noqa: TID251 - the host of a test draws from a seed
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from hanse.contract.model import Resource
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Conflict, Unavailable
from hanse.kernel.host import Host
from hanse.service.change import Followed
from hanse.service.collection import Collection, Page
from hanse.service.held import Held, Leases
from hanse.service.local import LocalCollection
from hanse.service.reaction import Rule
from hanse.service.rules import Call, RuleJob, RuleRunner
from hanse.store.base import Batch, Put
from hanse.store.memory import MemoryStore
from hanse.store.query import Compare

pytestmark = pytest.mark.virtual_time


class Order(Resource):
    status: str = "new"
    reminders: int = 0


Method = Callable[[Held[Order]], Awaitable[None]]


def rule(*, lease: float = 30.0, concurrency: int = 1, everything: bool = False) -> Rule:
    where = None if everything else Compare("eq", ("status",), "new")
    return Rule(Order, where, every=600.0, lease=lease, concurrency=concurrency)


class System:
    """A store with orders, and what a node would do for rules over them."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.leases = Leases()
        self.store = MemoryStore(host=host)
        self.orders = LocalCollection(Order, self.store)

    async def open(self) -> None:
        await self.store.open([self.orders.schema])

    async def unit(self, call: Call) -> None:
        context = Context(self.host)
        context.store = self.store
        token = ambient.set(context)
        try:
            await call()
            if context.work is not None:
                await context.work.commit()
        finally:
            ambient.reset(token)

    @asynccontextmanager
    async def ruled(
        self, method: Method, rule: Rule, *, rows: Collection[Order] | None = None, waiting_max: int = 100
    ) -> AsyncIterator[RuleRunner[Order]]:
        job = RuleJob("shop.remind", rule, rows or self.orders, method)
        runner = RuleRunner(job, self.unit, leases=self.leases, host=self.host, waiting_max=waiting_max)
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            try:
                yield runner
            finally:
                await runner.stop(grace=5.0)


@pytest.fixture
async def system(host: Host) -> System:
    system = System(host)
    await system.open()
    return system


class Seen:
    """A method that notes the rows that it runs for."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def __call__(self, order: Held[Order]) -> None:
        self.ids.append(order.value.id)


async def turns(count: int = 40) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_runs_for_rows_that_are_there_and_for_rows_that_come(system: System) -> None:
    seen = Seen()
    await system.orders.create(Order(id="1"))
    await system.orders.create(Order(id="2", status="paid"))
    async with system.ruled(seen, rule()):
        await turns()
        await system.orders.create(Order(id="3"))
        await system.orders.patch("2", status="new")
        await turns()
    assert seen.ids == ["1", "3", "2"]


async def test_its_tasks_say_for_which_row_they_run(system: System) -> None:
    names: list[str] = []
    done = asyncio.Event()

    async def remind(held: Held[Order]) -> None:
        names.append(cast("asyncio.Task[None]", asyncio.current_task()).get_name())
        done.set()

    _ = await system.orders.put(Order(id="42"))
    async with system.ruled(remind, rule()):
        _ = await done.wait()
    assert names == ["rule shop.remind holds 42"]


async def test_a_rule_without_a_condition_runs_for_every_row(system: System) -> None:
    seen = Seen()
    await system.orders.create(Order(id="1", status="paid"))
    async with system.ruled(seen, rule(everything=True)):
        await turns()
    assert seen.ids == ["1"]


async def test_every_sweep_looks_at_all_rows_again(system: System) -> None:
    seen = Seen()
    await system.orders.create(Order(id="1"))
    async with system.ruled(seen, rule()):
        await asyncio.sleep(1250)
    assert seen.ids == ["1"] * 3


async def test_what_it_writes_is_committed_and_does_not_make_it_run_again(system: System) -> None:
    async def count(order: Held[Order]) -> None:
        await order.patch(reminders=order.value.reminders + 1)

    await system.orders.create(Order(id="1"))
    async with system.ruled(count, rule()):
        await asyncio.sleep(1250)
    assert (await system.orders.get("1")).reminders == 3


async def test_nor_does_what_it_writes_by_the_collection(system: System) -> None:
    async def count(order: Held[Order]) -> None:
        await system.orders.patch(order.value.id, reminders=order.value.reminders + 1)

    await system.orders.create(Order(id="1"))
    async with system.ruled(count, rule()):
        await asyncio.sleep(1250)
    assert (await system.orders.get("1")).reminders == 3


async def test_a_row_that_was_changed_while_it_was_held_is_looked_at_again(system: System) -> None:
    held: list[int] = []
    gate = asyncio.Event()

    async def wait(order: Held[Order]) -> None:
        held.append(order.value.reminders)
        await gate.wait()

    await system.orders.create(Order(id="1"))
    async with system.ruled(wait, rule()):
        await turns()
        await system.orders.patch("1", reminders=7)
        await turns()
        assert held == [0]
        gate.set()
        await turns()
    assert held == [0, 7]


async def test_a_row_that_matches_no_more_when_its_turn_comes_is_left_alone(system: System) -> None:
    seen: list[str] = []

    async def close_the_other(order: Held[Order]) -> None:
        seen.append(order.value.id)
        await system.orders.patch("2", status="paid")
        await system.orders.delete("3")

    for id in ("1", "2", "3"):
        await system.orders.create(Order(id=id))
    async with system.ruled(close_the_other, rule()) as runner:
        await turns()
        assert runner.idle
    assert seen == ["1"]


async def test_rows_are_worked_on_side_by_side_up_to_a_limit(system: System) -> None:
    running: list[str] = []

    async def wait(order: Held[Order]) -> None:
        running.append(order.value.id)
        await asyncio.Event().wait()

    for id in ("1", "2", "3"):
        await system.orders.create(Order(id=id))
    async with system.ruled(wait, rule(concurrency=2)):
        await turns()
    assert running == ["1", "2"]


async def test_a_row_that_somebody_else_holds_waits_for_the_lease(system: System) -> None:
    seen = Seen()
    system.leases.acquire("shop.remind/1", now=0.0, seconds=20.0)
    await system.orders.create(Order(id="1"))
    async with system.ruled(seen, rule(lease=30.0)):
        await asyncio.sleep(29)
        assert seen.ids == []
        await asyncio.sleep(2)
    assert seen.ids == ["1"]


async def test_a_run_that_fails_is_tried_again_and_leaves_nothing_behind(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[int] = []

    async def fail_twice(order: Held[Order]) -> None:
        runs.append(order.value.reminders)
        await order.patch(reminders=order.value.reminders + 1)
        if len(runs) < 3:
            raise ValueError("no")

    await system.orders.create(Order(id="1"))
    async with system.ruled(fail_twice, rule()) as runner:
        await asyncio.sleep(60)
        assert runner.failures == 2
    assert (runs, (await system.orders.get("1")).reminders) == ([0, 0, 0], 1)
    assert "the rule shop.remind failed for 1" in caplog.text


@pytest.mark.parametrize(("races", "told"), [(1, ["INFO"]), (4, ["INFO", "INFO", "ERROR", "ERROR"])])
async def test_a_lost_race_is_no_error_unless_it_is_lost_again_and_again(
    system: System, caplog: pytest.LogCaptureFixture, races: int, told: list[str]
) -> None:
    caplog.set_level("INFO", "hanse.rules")
    runs: list[int] = []

    async def race(order: Held[Order]) -> None:
        runs.append(order.value.rev)
        if len(runs) <= races:
            row = b'{"reminders":%d}' % len(runs)
            await system.store.commit(Batch(0.0, writes=(Put("orders", "1", row, "somebody else"),)))
        await order.patch(status="reminded")

    await system.orders.create(Order(id="1"))
    async with system.ruled(race, rule()):
        await asyncio.sleep(100)
    assert (await system.orders.get("1")).status == "reminded"
    assert [record.levelname for record in caplog.records] == told
    assert "somebody changed it meanwhile" in caplog.text


async def test_one_row_that_fails_keeps_back_no_other(system: System) -> None:
    seen: list[str] = []

    async def fail_for_one(order: Held[Order]) -> None:
        seen.append(order.value.id)
        if order.value.id == "1":
            raise ValueError("no")

    for id in ("1", "2"):
        await system.orders.create(Order(id=id))
    async with system.ruled(fail_for_one, rule()):
        await turns()
    assert seen == ["1", "2"]


async def test_a_run_past_its_lease_is_cancelled(system: System, caplog: pytest.LogCaptureFixture) -> None:
    cancelled: list[float] = []

    async def hang(order: Held[Order]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(system.host.monotonic())

    await system.orders.create(Order(id="1"))
    async with system.ruled(hang, rule(lease=30.0)):
        await asyncio.sleep(30.1)
    assert cancelled == [30.0]
    assert "no answer from the rule shop.remind in time" in caplog.text


async def test_a_run_that_swallows_its_cancellation_writes_too_late(system: System) -> None:
    told: list[str] = []

    async def stubborn(order: Held[Order]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(Conflict, match="lease") as refused:
                await order.patch(reminders=99)
            told.append(str(refused.value))

    await system.orders.create(Order(id="1"))
    async with system.ruled(stubborn, rule(lease=30.0)):
        await asyncio.sleep(30.1)
    assert len(told) == 1
    assert (await system.orders.get("1")).reminders == 0


async def test_what_was_written_in_time_is_not_committed_too_late(system: System) -> None:
    async def stubborn(order: Held[Order]) -> None:
        await order.patch(reminders=99)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    await system.orders.create(Order(id="1"))
    async with system.ruled(stubborn, rule(lease=30.0)):
        await asyncio.sleep(30.1)
    assert (await system.orders.get("1")).reminders == 0


async def test_stopping_waits_for_runs_under_way_and_begins_no_other(system: System) -> None:
    done: list[str] = []

    async def slow(order: Held[Order]) -> None:
        await asyncio.sleep(3.0)
        done.append(order.value.id)

    for id in ("1", "2"):
        await system.orders.create(Order(id=id))
    async with system.ruled(slow, rule()):
        await turns()
    assert done == ["1"]


async def test_runs_that_outlast_the_grace_are_cancelled_and_let_go_of_their_row(system: System) -> None:
    async def hang(order: Held[Order]) -> None:
        await asyncio.Event().wait()

    await system.orders.create(Order(id="1"))
    async with system.ruled(hang, rule()):
        await turns()
    assert system.host.monotonic() == 5.0
    assert system.leases.acquire("shop.remind/1", now=5.0, seconds=1.0) is not None


async def test_a_rule_that_never_ran_stops_at_once(system: System) -> None:
    job = RuleJob("shop.remind", rule(), system.orders, Seen())
    await RuleRunner(job, system.unit, leases=system.leases, host=system.host).stop()


async def test_more_rows_than_may_wait_are_worked_off_in_pieces(system: System) -> None:
    seen = Seen()
    for n in range(20):
        await system.orders.create(Order(id=f"{n:02}"))
    async with system.ruled(seen, rule(), waiting_max=3):
        await turns(400)
    assert seen.ids == [f"{n:02}" for n in range(20)]


class Flaky:
    """A collection of another service that goes away: every feed breaks after some items, and finding fails."""

    def __init__(self, rows: LocalCollection[Order]) -> None:
        self.after: list[str | None] = []
        self._rows = rows

    def __getattr__(self, name: str) -> object:
        return getattr(self._rows, name)

    async def follow(self, where: object, *, after: str | None = None) -> AsyncIterator[Followed[Order]]:
        self.after.append(after)
        if len(self.after) == 2:
            raise Unavailable("the owner is away")
        count = 0
        async for item in self._rows.follow(rule().where, after=after):
            yield item
            count += 1
            if count == 2:
                raise Unavailable("the owner has gone")

    async def find(self, *_: object, **__: object) -> Page[Order]:
        raise Unavailable("the owner is away")


async def test_a_feed_that_breaks_is_taken_up_where_it_was(system: System, caplog: pytest.LogCaptureFixture) -> None:
    seen, flaky = Seen(), Flaky(system.orders)
    await system.orders.create(Order(id="1"))
    async with system.ruled(seen, rule(), rows=flaky):  # type: ignore[arg-type]
        await asyncio.sleep(700)
    assert flaky.after[:3] == [None, f"{system.store.log_id}.1", None]
    assert seen.ids == ["1"]
    assert "lost its feed: the owner is away" in caplog.text
    assert "could not sweep" in caplog.text


async def test_a_rule_that_breaks_says_so(system: System, caplog: pytest.LogCaptureFixture) -> None:
    await system.orders.create(Order(id="1"))
    leases = BrokenLeases()
    system.leases = leases
    async with system.ruled(Seen(), rule()):
        await turns()
    assert "the rule shop.remind broke" in caplog.text


class BrokenLeases(Leases):
    def acquire(self, name: str, *, now: float, seconds: float) -> None:
        raise AssertionError(name)


async def test_a_rest_on_a_clock_that_lags_behind_the_loop_ends_all_the_same() -> None:
    loop, chance = cast("Any", asyncio.get_running_loop()), random.Random(7)
    loop.now = 1e6  # so late that the last of the wait is nothing to it

    def lagging() -> float:
        return float(loop.time() - 1e6) * 0.9998

    system = System(Host("lags", now=lagging, monotonic=lagging, chance=chance, entropy=chance.randbytes))
    await system.open()
    tries: list[float] = []

    async def fail_once(order: Held[Order]) -> None:
        tries.append(lagging())
        if len(tries) == 1:
            raise ValueError("not yet")

    await system.orders.create(Order(id="1"))
    async with system.ruled(fail_once, rule()):
        await asyncio.sleep(10)
    assert len(tries) == 2
