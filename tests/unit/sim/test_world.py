"""The world in a box, as stories use it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import pytest

from hanse import (
    App,
    Collection,
    Contract,
    Event,
    Fault,
    Misconfigured,
    Misdeclared,
    Resource,
    Service,
    Settings,
    Setup,
    Unavailable,
    World,
    on,
    policy,
    rpc,
    send,
    simulate,
)
from hanse.kernel.fault_point import fault_point
from hanse.kernel.settings import NodeSettings
from hanse.sim import verdict as module
from hanse.sim.check import VIOLATIONS_MAX
from hanse.sim.plan import Plan
from hanse.sim.run import Outcome, run, run_once
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token

_log = logging.getLogger("tests.world")


class Price(Resource):
    cents: int


class Priced(Event):
    sku: str


class Seen(Resource):
    step: int = 1


class Again(Event):
    sku: str
    step: int


class Prices(Contract, Protocol, events=(Priced,), resources=(Price,)):
    @rpc
    async def set(self, sku: str, cents: int) -> Price: ...

    @rpc
    def count(self, upto: int) -> AsyncIterator[int]: ...


class PriceService(Service, Prices):
    prices: Collection[Price]

    async def set(self, sku: str, cents: int) -> Price:
        if cents < 0:
            raise ValueError("a price below nothing")
        price = await self.prices.put(Price(id=sku, cents=cents))
        await self.emit(Priced(sku=sku))
        return price

    async def count(self, upto: int) -> AsyncIterator[int]:
        for n in range(upto):
            yield n


class Watcher(Service, events=(Again,)):
    """Three events follow from each."""

    seen: Collection[Seen]
    prices: Prices

    @on(Priced, attempts=100)
    async def first(self, event: Priced) -> None:
        await self.seen.put(Seen(id=event.sku, step=1))
        await self.emit(Again(sku=event.sku, step=2))

    @on(Again, attempts=100)
    async def again(self, event: Again) -> None:
        await self.seen.put(Seen(id=event.sku, step=event.step))
        if event.step < 4:
            await self.emit(Again(sku=event.sku, step=event.step + 1))

    @rpc
    async def through(self, sku: str, cents: int) -> Price:
        return await self.prices.set(sku, cents)

    @rpc
    async def sum(self, upto: int) -> int:
        return sum([n async for n in self.prices.count(upto)])

    @rpc
    async def log(self, line: str) -> None:
        _log.warning("%s", line)


app = App("prices", PriceService, Watcher)


def tell(story: Story, *, plan: Plan = (), of: App | Setup = app, seed: int = 0, seconds: float = 10.0) -> Outcome:
    """Run a story in calm weather, under a plan."""
    setup = of if isinstance(of, Setup) else Setup(app=of)
    simulation = Simulation(name="told", story=story, setup=setup, profile="calm", seeds=1, seconds=seconds)
    return run_once(simulation, Token(profile="calm", seed=seed, plan=plan), keep=True)


def holds(story: Story) -> Outcome:
    outcome = tell(story)
    assert outcome.violations == ()
    return outcome


def wrong(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.check, one.detail) for one in outcome.violations]


# What goes wrong.


def test_a_world_needs_virtual_time() -> None:
    async def main() -> None:
        with pytest.raises(Misconfigured, match="needs virtual time"):
            async with simulate(app):
                raise AssertionError("it began")

    asyncio.run(main())


def test_a_story_that_fails_is_told_with_what_failed_in_it() -> None:
    async def story(world: World) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(int, "x"))

    assert wrong(tell(story)) == [("story", "ValueError: invalid literal for int() with base 10: 'x'")]


def test_a_call_that_nobody_awaited_and_that_failed_is_told() -> None:
    async def story(world: World) -> None:
        await send(world.client(PriceService).set, "tea", -1)
        await asyncio.sleep(1)

    ((check, detail),) = wrong(tell(story))
    assert check == "story"
    assert detail.startswith("a call that nobody awaited failed")


def test_what_nobody_caught_is_told_with_its_process() -> None:
    async def story(world: World) -> None:
        def fail() -> None:
            raise ValueError("no")

        lane = world.machines["watcher"].lane
        assert lane is not None
        world.loop.at(world.time + 1, fail, lane=lane)
        await asyncio.sleep(2)

    assert ("uncaught", "watcher: ValueError: no") in wrong(tell(story))


def test_a_world_that_stands_still_is_told() -> None:
    async def story(world: World) -> None:
        for machine in world.machines.values():
            machine.kill()
        world.machines.clear()
        world.net.heard = None
        for lane in world.onlookers:
            lane.kill()
        await asyncio.Event().wait()

    ((check, detail),) = wrong(tell(story))
    assert check == "stuck"
    assert "deadlock" in detail


def test_a_world_that_does_not_come_to_rest_says_who_is_restless() -> None:
    async def story(world: World) -> None:
        await world.client(PriceService).set("tea", 5)
        world.crash(Watcher)
        with pytest.raises(TimeoutError, match=r"did not come to rest within 3 s: watcher is down"):
            await world.settle(limit=3.0)
        await world.restart(Watcher)
        world.network.cut(PriceService, Watcher)
        await world.client(PriceService).set("tea", 6)
        with pytest.raises(TimeoutError, match="events go on and on, or cannot be delivered"):
            await world.settle(limit=3.0)

    holds(story)


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (lambda world: world.client(Outside), "no service of the app 'prices' provides Outside"),
        (lambda world: world.rows(Again), "no service of the app 'prices' owns Again"),
        (lambda world: world.crash(Outside), "no service of the app 'prices' is or provides Outside"),
        (lambda world: world.network.cut(PriceService, PriceService), "both on"),
        (lambda world: world.network.between(PriceService, Watcher, drop=2.0), "a share from 0 to 1"),
    ],
)
def test_what_is_not_there_cannot_be_asked_for(ask: Callable[[World], object], why: str) -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misconfigured, match=why):
            ask(world)

    holds(story)


class Outside(Service):
    """Not in the app."""


def test_rows_in_memory_cannot_be_looked_at() -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misconfigured, match="keeps its rows in memory"):
            world.rows(Price)

    memory = Settings(node=NodeSettings(store="memory:"))
    outcome = tell(story, of=Setup(app=app, settings=memory))
    assert wrong(outcome) == []


# Checks.


def test_what_always_has_to_hold_is_looked_at_after_commits() -> None:
    async def story(world: World) -> None:
        world.always("no price above 100", lambda: all(price.cents <= 100 for price in world.rows(Price)))
        prices = world.client(PriceService)
        await prices.set("tea", 50)
        await asyncio.sleep(1)
        await prices.set("tea", 150)
        await asyncio.sleep(1)
        raise AssertionError("the story is told no further")

    outcome = tell(story)
    assert wrong(outcome) == [("no price above 100", "it does not hold")]
    assert 1.0 < outcome.violations[0].at < 1.2


def test_what_is_wrong_for_a_moment_only_may_be_missed_but_not_at_the_end() -> None:
    async def story(world: World) -> None:
        world.always("no price above 100", lambda: all(price.cents <= 100 for price in world.rows(Price)))
        world.sometimes("told")

    outcome = holds(story)
    assert outcome.reached == ("told",)


def test_what_has_to_hold_in_the_end_is_waited_for() -> None:
    async def story(world: World) -> None:
        end = world.time + 200
        world.eventually("late", lambda: world.time > end)

    assert holds(story).seconds > 200


def test_what_never_comes_true_is_told_with_what_was_found_last() -> None:
    async def story(world: World) -> None:
        world.eventually("never", lambda: "two of one id")

    outcome = tell(story)
    assert wrong(outcome) == [("never", "two of one id")]
    assert outcome.seconds > module.EVENTUALLY_SECONDS


def test_what_comes_true_has_to_stay_so() -> None:
    async def story(world: World) -> None:
        looks = list[int]()

        def once() -> bool:
            looks.append(1)
            return len(looks) == 1

        world.eventually("only once", once)

    assert wrong(tell(story)) == [("only once", "it came true, and did not stay so: it does not hold")]


def test_violations_are_told_up_to_a_limit() -> None:
    async def main() -> int:
        worlds = list[World]()

        async def violate() -> None:
            async with simulate(app) as world:
                worlds.append(world)
                for n in range(VIOLATIONS_MAX + 10):
                    world.violate("many", f"{n}")

        with pytest.raises(AssertionError, match="many: 0"):
            await violate()
        return len(worlds[0].violations)

    assert run(main()) == VIOLATIONS_MAX


# Looking at rows.


def test_rows_are_what_the_file_says_whoever_wrote_it() -> None:
    async def story(world: World) -> None:
        written = [await world.client(Prices).set(sku, 5) for sku in ("cake", "tea")]
        assert world.rows(Price) == written
        _ = world.query(Prices, """UPDATE "rows:prices" SET value = '{"cents": 7}' WHERE id = 'tea'""")
        assert world.rows(Price) == [written[0], Price(id="tea", rev=written[1].rev, cents=7)]
        _ = world.query(Prices, "DELETE FROM \"rows:prices\" WHERE id = 'cake'")
        assert [price.id for price in world.rows(Price)] == ["tea"]

    # Whoever follows the rows by their feed was told nothing of that.
    assert [check for check, _ in wrong(tell(story))] == ["feeds"]


def test_rows_are_read_past_all_code() -> None:
    async def story(world: World) -> None:
        assert world.rows(Price) == []
        assert world.query(PriceService, "SELECT count(*) FROM log") == [(0,)]
        written = await world.client(Prices).set("tea", 5)
        world.crash(PriceService)
        assert world.rows(Price) == [written]
        assert world.query(Prices, "SELECT name FROM log WHERE seq = ?", written.rev) == [("prices",)]
        await world.restart(PriceService)
        assert await world.collection(Price).get("tea") == written

    holds(story)


class Stock(Resource):
    left: int


class WiderWatcher(Watcher, name="watcher", events=(Again,)):
    """The next version: with another collection."""

    stock: Collection[Stock]

    @rpc
    async def count_stock(self) -> int:
        await self.stock.put(Stock(id="tea", left=1))
        return 1


def test_rows_of_the_next_version_can_be_looked_at_before_it_runs() -> None:
    upgrade = App("prices", PriceService, WiderWatcher)

    async def story(world: World) -> None:
        assert world.rows(Stock) == []
        await world.replace(Watcher, upgrade)
        assert world.rows(Stock) == []
        assert world.machines["watcher"].app is upgrade

    assert tell(story, of=Setup(app=app, upgrade=upgrade)).violations == ()


def test_a_deploy_that_has_begun_is_ended_when_the_world_heals() -> None:
    upgrade = App("prices", PriceService, WiderWatcher)
    seen: list[World] = []

    async def story(world: World) -> None:
        seen.append(world)
        await world.replace(PriceService, upgrade)
        assert world.machines["watcher"].app is app

    assert tell(story, of=Setup(app=app, upgrade=upgrade)).violations == ()
    assert {machine.app for machine in seen[0].machines.values()} == {upgrade}


def test_a_faked_service_has_no_rows() -> None:
    async def story(world: World) -> None:
        await world.client(Prices).set("tea", 5)
        world.fake(Prices, FakePrices())
        assert world.rows(Price) == []

    holds(story)


# Time, arrivals, log lines.


def test_time_passes_as_it_is_told_to() -> None:
    async def story(world: World) -> None:
        began = world.time
        await world.advance("1h")
        await world.advance(30)
        assert world.time - began == 3630

    holds(story)


def test_customers_come_at_random_times_while_the_world_is_busy() -> None:
    counts = list[int]()

    async def story(world: World) -> None:
        numbers = [number async for number in world.arrivals(rate=20.0)]
        assert numbers == list(range(len(numbers)))
        counts.append(len(numbers))
        more = [number async for number in world.arrivals(rate=20.0, length=1.0)]
        assert len(more) < len(numbers)

    for seed in (1, 2, 1):
        assert tell(story, seed=seed).violations == ()
    assert counts[0] == counts[2] != counts[1]
    assert all(140 < count < 260 for count in counts)


def lines(outcome: Outcome) -> list[str]:
    return [f"{effect.machine}: {effect.detail}" for effect in outcome.effects if effect.kind == "log"]


def test_what_processes_log_is_part_of_the_trace() -> None:
    async def story(world: World) -> None:
        await world.client(Watcher).log(f"an object at {hex(id(world))}")
        _log.warning("the story")
        _log.debug("not heard")

    assert lines(holds(story)) == [
        "watcher: WARNING tests.world: an object at 0x...",
        "client: WARNING tests.world: the story",
    ]


def test_what_a_dead_process_logs_is_not_heard() -> None:
    async def story(world: World) -> None:
        async def last_words() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                _log.warning("last words")

        machine = world.machines["watcher"]
        assert machine.lane is not None
        machine.lane.start(last_words())
        await asyncio.sleep(1)
        world.crash(Watcher)

    assert lines(holds(story)) == []


# Fakes.


class FakePrices:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def set(self, sku: str, cents: int) -> Price:
        if cents > 1000:
            raise Unavailable("too dear")
        self.asked.append((sku, cents))
        return Price(id=sku, cents=cents + 1)

    async def count(self, upto: int) -> AsyncIterator[int]:
        for n in range(upto):
            yield 10 * n


def test_calls_reach_a_fake() -> None:
    async def story(world: World) -> None:
        fake = FakePrices()
        world.fake(Prices, fake)
        assert (await world.client(Prices).set("tea", 5)).cents == 6
        assert (await world.client(Watcher).through("cake", 7)).cents == 8
        assert await world.client(Watcher).sum(4) == 60
        with pytest.raises(Unavailable, match="too dear"):
            await world.client(Watcher).through("cake", 7000)
        assert fake.asked == [("tea", 5), ("cake", 7)]
        await world.settle()
        another = FakePrices()
        world.fake(PriceService, another)
        await world.client(Prices).set("tea", 5)
        assert another.asked == [("tea", 5)]

    holds(story)


def test_what_a_faked_service_had_subscribed_to_is_acknowledged() -> None:
    class Nothing:
        async def through(self, sku: str, cents: int) -> Price:
            raise NotImplementedError

        async def sum(self, upto: int) -> int:
            return 0

        async def log(self, line: str) -> None: ...

    async def story(world: World) -> None:
        world.fake(Watcher, Nothing())
        await world.client(PriceService).set("tea", 5)
        await world.settle(limit=30.0)
        with pytest.raises(Misconfigured, match="a fake by now"):
            world.crash(Watcher)

    holds(story)


def test_the_other_services_of_a_machine_go_on_without_the_one_that_is_faked() -> None:
    async def story(world: World) -> None:
        world.fake(Prices, FakePrices())
        await world.up()
        assert await world.client(Watcher).sum(3) == 30
        assert world.machines["one"].services == ("watcher",)

    outcome = tell(story, of=Setup(app=app, machines={"one": [PriceService, Watcher]}))
    assert outcome.violations == ()


class Short:
    async def set(self, sku: str, cents: int) -> Price: ...  # type: ignore[empty-body]


class Strange(FakePrices):
    async def set(self, sku: str) -> Price: ...  # type: ignore[override, empty-body]


class Blocking(FakePrices):
    def set(self, sku: str, cents: int) -> Price:  # type: ignore[override]
        return Price(id=sku, cents=cents)


class Awaited(FakePrices):
    async def count(self, upto: int) -> list[int]:  # type: ignore[override]
        return []


@pytest.mark.parametrize(
    ("fake", "why"),
    [
        (Short(), "Short has no count, which prices promises"),
        (Strange(), r"Strange\.set does not take what prices says.*it takes \(sku, cents\) there"),
        (Blocking(), r"Blocking\.set has to be an `async def`"),
        (Awaited(), r"Awaited\.count has to yield items"),
    ],
)
def test_a_fake_has_to_keep_the_contract(fake: object, why: str) -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misdeclared, match=why):
            world.fake(Prices, fake)
        # Nothing has happened to the service.
        await world.client(Prices).set("tea", 5)

    holds(story)


# Settling.


def test_a_world_has_settled_when_all_has_happened_that_follows() -> None:
    async def story(world: World) -> None:
        for n in range(20):
            await world.client(PriceService).set(f"{n}", n)
        await world.settle()
        assert [seen.step for seen in world.rows(Seen)] == [4] * 20

    holds(story)


@pytest.mark.parametrize("end", ["crash", "power_cut", "replace", "pause"])
def test_a_world_settles_over_the_end_of_a_process(end: str) -> None:
    async def story(world: World) -> None:
        ends: dict[str, Callable[[], Awaitable[None]]] = {
            "crash": lambda: back(world.crash),
            "power_cut": lambda: back(world.power_cut),
            "replace": lambda: world.replace(Watcher, app),
            "pause": lambda: later(lambda: world.pause(Watcher, "2s")),
        }

        async def later(act: Callable[[], None]) -> None:
            await asyncio.sleep(0.01)
            act()

        async def back(die: Callable[[type], None]) -> None:
            await later(lambda: die(Watcher))
            await asyncio.sleep(3)
            await world.restart(Watcher)

        for n in range(20):
            await world.client(PriceService).set(f"{n}", n)
        async with asyncio.TaskGroup() as group:
            group.create_task(ends[end]())  # type: ignore[arg-type]
            group.create_task(world.settle())
        assert [seen.step for seen in world.rows(Seen)] == [4] * 20

    holds(story)


# The network by hand.


def test_a_story_may_cut_and_mend_the_way_between_services() -> None:
    async def story(world: World) -> None:
        watcher = policy(world.client(Watcher), timeout="1s", retry=False)
        world.network.cut(Watcher, Prices)
        with pytest.raises(Fault):
            await watcher.through("tea", 5)
        await world.client(PriceService).set("tea", 5)
        world.network.mend(Watcher, Prices)
        assert (await watcher.through("tea", 6)).cents == 6

    holds(story)


def test_a_story_may_make_the_way_between_services_worse_and_all_heals_in_the_end() -> None:
    async def story(world: World) -> None:
        watcher = policy(world.client(Watcher), timeout="1s", retry=False)
        world.network.between(Watcher, PriceService, drop=1.0)
        with pytest.raises(Fault):
            await watcher.through("tea", 5)
        world.network.between(Watcher, PriceService, delay="500ms")
        began = world.time
        with suppress(Fault):
            await watcher.through("tea", 6)
        assert world.time - began > 0.01
        world.network.between(Watcher, PriceService, drop=1.0)
        await world.client(PriceService).set("tea", 7)

    holds(story)


# What a world leaves.


def test_a_world_leaves_the_process_as_it_found_it() -> None:
    handlers = list(logging.getLogger().handlers)

    async def story(world: World) -> None:
        raise ValueError("no")

    assert wrong(tell(story)) == [("story", "ValueError: no")]
    fault_point("unit.before_commit")
    assert logging.getLogger().handlers == handlers
