"""A shop and those who hear of it, apart, with a Redis that keeps the events: each is killed amid them."""

import asyncio
import importlib.util
import itertools
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
from msgspec import structs
from tests.transport.redis.server import Server

from hanse.contract.model import Resource
from hanse.kernel.faults import Fault
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.node.app import GATEWAY
from hanse.node.node import Node

from .fleet import Fleet, fleet

SHOP = """
from hanse import App, Collection, Event, Resource, Service, on, rpc


class Order(Resource):
    number: int


class Placed(Event):
    number: int


class Receipt(Resource):
    number: int


class Shop(Service, events=(Placed,)):
    orders: Collection[Order]

    @rpc
    async def place(self, number: int) -> None:
        await self.orders.create(Order(number=number))
        await self.emit(Placed(number=number))


class Mailer(Service):
    receipts: Collection[Receipt]

    @on(Placed, key=lambda placed: "all of them")
    async def receipt(self, placed: Placed) -> None:
        await self.receipts.create(Receipt(number=placed.number))


app = App("shop", Shop, Mailer)
"""
PARTS = ("shop", "mailer", "mailer#2")
SOME = 100
"""Orders that are placed before and after each kill."""

LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.05


@pytest.fixture
def shop(tmp_path: Path) -> ModuleType:
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("shop_kept", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shop_kept"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "--appendonly", "yes")
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()


@pytest.fixture
def parts(shop: ModuleType, server: Server, tmp_path: Path) -> Iterator[Fleet]:
    options = ("--transport", server.url, "--store", "sqlite:///data", "--events", "broker")
    with fleet(tmp_path / "shop.py", PARTS, tmp_path, *options) as running:
        yield running


@pytest.fixture
async def node(shop: ModuleType, server: Server, parts: Fleet) -> AsyncIterator[Node]:
    settings = NodeSettings(services=(GATEWAY,), transport=server.url, events="broker", grace=1.0)
    async with Node(shop.app, Settings(node=settings)) as node:
        yield node


class Customer:
    """Places orders one after the other, whatever becomes of them."""

    def __init__(self, node: Node, shop: ModuleType) -> None:
        self._client = node.client(shop.Shop)
        self._numbers = itertools.count()
        self.placed: list[int] = []
        self.leaving = False

    async def run(self) -> None:
        for number in self._numbers:
            if self.leaving:
                return
            try:
                await self._client.place(number=number)
            except Fault:
                await asyncio.sleep(POLL_SECONDS)  # nobody knows whether it was placed; the rows tell
            else:
                self.placed.append(number)

    async def some(self) -> None:
        wanted = len(self.placed) + SOME
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(self.placed) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)  # nothing tells of it


@asynccontextmanager
async def ordering(node: Node, shop: ModuleType) -> AsyncGenerator[Customer]:
    customer = Customer(node, shop)
    async with Tasks(print) as tasks:
        running = tasks.start(customer.run())
        yield customer
        customer.leaving = True  # what is under way is placed, or not, by the time that somebody looks
        await running


async def numbers(node: Node, kind: type[Resource]) -> list[int]:
    """Of all rows, in the order in which they were written."""
    rows = [row async for row in node.collection(kind).scan()]
    return [structs.asdict(row)["number"] for row in sorted(rows, key=lambda row: row.rev)]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("victim", ["shop", "mailer", "server"])
async def test_a_kill_loses_no_event_and_none_takes_effect_twice(
    node: Node, shop: ModuleType, parts: Fleet, server: Server, victim: str
) -> None:
    async with ordering(node, shop) as customer:
        for mailer in ("mailer", "mailer#2"):
            await customer.some()
            if victim == "server":
                await asyncio.to_thread(server.restart)
            else:
                await asyncio.to_thread(parts.again, mailer if victim == "mailer" else victim)
        await customer.some()
    orders = await numbers(node, shop.Order)
    assert set(customer.placed) <= set(orders)
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(await numbers(node, shop.Receipt)) < len(orders):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)  # nothing tells of it
    assert await numbers(node, shop.Receipt) == orders
