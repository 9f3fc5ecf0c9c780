"""More sagas wait than are kept in memory: those that rest go on when it is their turn, and none is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.kernel.faults import DeadlineExceeded
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy, send
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.saga_desk import SagaDesk
from hanse.service.saga import Saga
from hanse.service.saga_method import saga
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore

pytestmark = pytest.mark.virtual_time

AWAKE = 5
MORE = 20
ORDERS = AWAKE + MORE


class Paid(Event):
    order: int


class Till(Service, events=(Paid,)):
    @rpc
    async def pay(self, order: int) -> None:
        await self.emit(Paid(order=order))


class Shop(Service):
    @rpc
    @saga(events=(Paid,), timeout="3d")
    async def place(self, s: Saga, order: int) -> str:
        await s.sleep("1m")
        try:
            _ = await s.event(Paid, where=lambda paid: paid.order == order, timeout="1d")
        except DeadlineExceeded:
            return "never paid"
        return "paid"


APP = App("shop", Till, Shop)


@pytest.fixture
def make(tmp_path: Path, host: Host) -> Callable[[], Node]:
    def inline(url: str) -> Store:
        return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())

    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}", sagas_awake=AWAKE))
    return lambda: Node(APP, settings, host=host, stores=inline)


@pytest.fixture
async def node(make: Callable[[], Node]) -> AsyncIterator[Node]:
    async with asyncio.timeout(7 * 86_400), make() as made:
        yield made


def desk(node: Node) -> SagaDesk:
    return SagaDesk({"shop": next(one.store for one in node.hosted if one.part.name == "shop")}, node.host)


async def until(true: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if true():
            return
        await asyncio.sleep(1.0)
    raise AssertionError("it never came to that")


def resting(node: Node) -> int:
    return sum(one.sagas.resting for one in node.hosted if one.sagas is not None)


async def began(node: Node) -> None:
    """All wait for their payment, and as many as may rest do."""
    for order in range(ORDERS):
        await send(node.client(Shop).place, order)
    # Past the minute that each sleeps, which some may rest in as well.
    await asyncio.sleep(90)
    await until(lambda: resting(node) >= MORE)


async def ended(node: Node) -> dict[int, str]:
    rows = await desk(node).rows(states=("done", "undone"), limit=ORDERS)
    return {int(row.arguments.partition(":")[2].rstrip("}")): row.result or row.why for row in rows}


async def test_who_rests_hears_of_what_it_waits_for_and_nobody_else_does(node: Node) -> None:
    await began(node)
    paid = range(0, ORDERS, 3)
    for order in paid:
        await node.client(Till).pay(order)
    await asyncio.sleep(5)
    assert await ended(node) == dict.fromkeys(paid, '"paid"')


async def test_who_rests_goes_on_when_its_time_is_over(node: Node) -> None:
    await began(node)
    await asyncio.sleep(86_400)
    await until(lambda: resting(node) == 0)
    await asyncio.sleep(5)
    assert await ended(node) == dict.fromkeys(range(ORDERS), '"never paid"')


async def test_who_rests_turns_back_when_it_is_aborted(node: Node) -> None:
    await began(node)
    rows = await desk(node).rows(limit=ORDERS)
    for row in rows:
        _ = await desk(node).abort(row.id, by="ada")
    await asyncio.sleep(5)
    assert {row.state for row in await desk(node).rows(limit=ORDERS)} == {"undone"}
    assert resting(node) == 0


async def test_what_is_written_while_a_saga_lies_down_is_not_slept_through(node: Node) -> None:
    await send(node.client(Shop).place, 1)
    await asyncio.sleep(90)
    row = (await desk(node).rows())[0]
    sagas = next(one.sagas for one in node.hosted if one.sagas is not None)
    runner = sagas._runner
    assert runner is not None
    run = runner._runs[row.id]
    assert run is not None
    runner._rests[row.id] = run.rest()
    assert runner._knows(msgspec.structs.replace(row, abort=True, rev=row.rev + 1))
    await asyncio.sleep(1)
    assert (resting(node), list(runner._runs)) == (0, [row.id])


async def test_who_waits_for_the_end_of_a_saga_waits_while_it_rests(node: Node) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(policy(node.client(Shop), timeout="1h").place(-1))
        await began(node)
        await asyncio.sleep(60)
        assert not waiting.done()
        await node.client(Till).pay(-1)
    assert waiting.result() == "paid"


async def test_what_rested_on_one_node_goes_on_on_another(make: Callable[[], Node]) -> None:
    async with make() as node:
        await began(node)
    async with make() as node:
        await until(lambda: resting(node) == MORE)
        for order in range(ORDERS):
            await node.client(Till).pay(order)
        await asyncio.sleep(5)
        assert await ended(node) == dict.fromkeys(range(ORDERS), '"paid"')
