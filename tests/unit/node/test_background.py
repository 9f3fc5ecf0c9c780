"""What runs by itself on a node: rules and schedules, each run a unit of work."""

import asyncio
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hanse.contract.model import Event, Resource
from hanse.kernel.context import current
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.held import Held
from hanse.service.reaction import cron, every, rule
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time


class Order(Resource):
    status: str = "new"


class Ticked(Event):
    number: int


class Clumsy(Fault):
    """It fell."""


class Clockwork(Service):
    orders: Collection[Order]

    @every("1h")
    async def tick(self) -> None:
        TICKS.append(current().operation)
        assert current().headers.priority == BACKGROUND
        await self.emit(Ticked(number=len(TICKS)))
        if len(TICKS) == 2:
            raise Clumsy

    @rule(Order, where=lambda o: o.status == "new", every="10m")
    async def finish(self, order: Held[Order]) -> None:
        RUNS.append(order.value.id)
        await order.patch(status="done")
        if len(RUNS) == 1:
            raise Clumsy


TICKS: list[str] = []
RUNS: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    TICKS.clear()
    RUNS.clear()


async def test_a_schedule_ticks_and_a_run_that_fails_leaves_nothing(host: Host) -> None:
    async with Node(App("clock", Clockwork), host=host) as node:
        await asyncio.sleep(3 * 3600 + 1)
        entries = (await node.hosted[0].store.changes(0, limit=10)).entries
        assert len(TICKS) >= 3
        assert set(TICKS) == {"clockwork.tick"}
        assert len(entries) == len(TICKS) - 1


class Almanac(Service):
    """Writes down what the clock on the wall shows."""

    orders: Collection[Order]

    @cron("15 * * * *")
    async def chime(self) -> None:
        await self.orders.create(Order(status=f"{current().host.now() % 3600.0:.3f}"))


async def test_a_cron_expression_is_kept_by_the_clock_on_the_wall(host: Host) -> None:
    async with Node(App("clock", Almanac), host=host) as node:
        await asyncio.sleep(3 * 3600.0)
        assert [order.status async for order in node.collection(Order).scan()] == ["900.000"] * 3
        [schedule] = (await node.figures()).schedules
        assert (schedule.name, schedule.missed) == ("almanac.chime", 0)


class Diary(Service):
    """Writes down which moment a run was for, and when it was."""

    orders: Collection[Order]

    @cron("30 7 * * *", zone="Europe/Berlin")
    async def daily(self, due: datetime) -> None:
        await self._note(due)

    @every("10m")
    async def often(self, due: datetime) -> None:
        await self._note(due)

    async def _note(self, due: datetime) -> None:
        await self.orders.create(Order(status=f"{due.isoformat()} {current().host.now() - due.timestamp():.0f}"))


async def noted(node: Node, zone: str) -> list[str]:
    return [order.status async for order in node.collection(Order).scan() if f"{zone} " in order.status]


async def test_a_schedule_tells_which_moment_it_runs_for(host: Host) -> None:
    async with Node(App("clock", Diary), host=host) as node:
        await asyncio.sleep(86_400.0)
        assert await noted(node, "+01:00") == ["2023-11-15T07:30:00+01:00 0"]
        often = await noted(node, "+00:00")
    assert (len(often), often[0]) == (143, "2023-11-14T22:23:20+00:00 0")


async def test_who_runs_late_is_told_the_moment_that_was_due(tmp_path: Path, host: Host) -> None:
    """Nobody was there at 7:30; a node comes half a minute after it."""
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"))

    def inline(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    async with Node(App("clock", Diary), settings, host=host, stores=inline):
        until = datetime(2023, 11, 15, 7, 29, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
        await asyncio.sleep(until - host.now())
    await asyncio.sleep(90.0)
    async with Node(App("clock", Diary), settings, host=host, stores=inline) as node:
        await asyncio.sleep(1.0)
        assert await noted(node, "+01:00") == ["2023-11-15T07:30:00+01:00 30"]


async def test_a_rule_comes_back_to_a_row_that_it_failed_on(host: Host) -> None:
    async with Node(App("clock", Clockwork), host=host) as node:
        orders = node.collection(Order)
        order = await orders.create(Order())
        await asyncio.sleep(1200)
        assert (await orders.get(order.id)).status == "done"
        assert [order.id, order.id] == RUNS


async def test_nothing_runs_on_a_node_that_has_stopped(host: Host) -> None:
    async with Node(App("clock", Clockwork), host=host):
        pass
    ticks = len(TICKS)
    await asyncio.sleep(10_000)
    assert len(TICKS) == ticks


class Lingering(Service):
    """Starts work that outlives the run that it was started in."""

    orders: Collection[Order]

    @every("1h")
    async def tick(self) -> None:
        await self.orders.create(Order(status="first"))
        STARTED.append(TASKS[0].start(self.later()))

    async def later(self) -> None:
        await asyncio.sleep(60)
        await self.orders.create(Order(status="later"))


TASKS: list[Tasks] = []
STARTED: list[asyncio.Task[None]] = []


async def test_what_outlives_a_run_writes_for_itself(host: Host) -> None:
    async with Node(App("clock", Lingering), host=host) as node, Tasks(print) as tasks:
        TASKS[:] = [tasks]
        await asyncio.sleep(3600 + 1)
        await asyncio.gather(*STARTED)
        assert [order.status async for order in node.collection(Order).scan()] == ["first", "later"]
