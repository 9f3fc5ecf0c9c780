"""An app moves with its stores: what was handled stays handled, what was not yet is delivered."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.faults import CouldNotStart, Malformed, Misconfigured, PreconditionFailed
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.mesh.client import policy
from hanse.node.app import App
from hanse.node.dumps import dumping, loading
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.log_reader import CursorLost
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.store.dump import SKIPPED, StoreNotEmpty
from hanse.store.dump_text import Counts, Reader


class Order(Resource):
    sku: str
    number: int = 0


class Placed(Event):
    order_id: str


class Receipt(Resource):
    order_id: str


class Shop(Service, events=(Placed,)):
    orders: Collection[Order]

    @rpc
    async def place(self, sku: str) -> Order:
        order = await self.orders.create(Order(sku=sku))
        await self.emit(Placed(order_id=order.id))
        return order


class Printer(Service):
    receipts: Collection[Receipt]

    @on(Placed)
    async def print(self, placed: Placed) -> None:
        await self.receipts.create(Receipt(order_id=placed.order_id))


class Changed(Resource, collection="orders"):
    sku: int
    size: str


class Other(Service, name="shop"):
    orders: Collection[Changed]


class Empty(Service, name="shop"):
    """Declares nothing any more."""


# The printer first: its moment comes before the shop's.
APP = App("shop", Printer, Shop)


def at(folder: Path, *services: str) -> Settings:
    return Settings(node=NodeSettings(store=f"sqlite:///{folder}", services=services))


def quiet(_: Counts) -> None:
    """Nobody watches."""


async def dumped(settings: Settings, app: App = APP) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async with dumping(app, settings, Host.system()) as stores:
        for one in stores:
            file = BytesIO()
            await one.write(file.write, quiet)
            found[one.service] = file.getvalue()
    return found


async def loaded(settings: Settings, *dumps: bytes, app: App = APP) -> list[Counts]:
    async with loading(app, settings, [reader(one) for one in dumps]) as stores:
        return [await one.load(quiet) for one in stores]


def is_there(folder: Path) -> bool:
    return folder.exists()


def reader(dump: bytes) -> Reader:
    return Reader(dump.splitlines(keepends=True))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return tmp_path / "first"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    return tmp_path / "second"


async def test_an_app_goes_on_elsewhere_where_it_was(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        tea = await policy(node.client(Shop), idempotency_key="k1").place("tea")
        cursor = await node.collection(Order).cursor()
        await node.settle()
    async with Node(APP, at(first, "shop")) as node:
        coffee = await node.client(Shop).place("coffee")  # nobody prints it yet
    await loaded(at(second), *(await dumped(at(first))).values())
    async with Node(APP, at(second)) as node:
        await node.settle()
        printed = [receipt.order_id async for receipt in node.collection(Receipt).scan()]
        assert sorted(printed) == sorted([tea.id, coffee.id])
        assert await policy(node.client(Shop), idempotency_key="k1").place("tea") == tea
        orders = node.collection(Order)
        assert await orders.get(tea.id) == tea
        with pytest.raises(CursorLost):
            await anext(orders.changes(after=cursor))
        cocoa = await orders.patch(tea.id, sku="cocoa", if_match=tea.rev)
        assert cocoa.rev > SKIPPED
        with pytest.raises(PreconditionFailed):
            await orders.patch(tea.id, sku="milk", if_match=tea.rev)


async def test_a_store_of_which_a_part_is_loaded_is_not_started_but_loaded_anew(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        tea = await node.client(Shop).place("tea")
    dumps = await dumped(at(first))
    with pytest.raises(Malformed, match="the file was cut off"):
        await loaded(at(second), dumps["shop"][:-100], dumps["printer"])
    with pytest.raises(CouldNotStart, match="was being loaded from a dump, which did not finish"):
        await Node(APP, at(second)).start()
    with pytest.raises(CouldNotStart, match="which did not finish"):
        await dumped(at(second))
    await loaded(at(second), *dumps.values())
    async with Node(APP, at(second)) as node:
        assert await node.collection(Order).get(tea.id) == tea


async def test_a_load_tells_how_much_it_was_and_another_one_is_refused(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        await node.client(Shop).place("tea")
        await node.settle()
    dumps = await dumped(at(first))
    shop, printer = await loaded(at(second), dumps["shop"], dumps["printer"])
    assert (shop.rows, shop.entries) == (1, 2)
    assert (printer.rows, printer.entries, printer.marks) == (1, 1, 1)
    with pytest.raises(StoreNotEmpty, match="load the other services with --services"):
        await loaded(at(second), dumps["shop"])


async def test_what_a_dump_is_not_for_is_refused_before_anything_is_made(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        await node.client(Shop).place("tea")
    dump = (await dumped(at(first)))["shop"]
    stranger = dump.replace(b'"service":"shop"', b'"service":"till"', 1)
    for dumps, why in (((stranger,), "no service 'till'"), ((dump, dump), "got several of shop")):
        with pytest.raises(Misconfigured, match=why):
            await loaded(at(second), *dumps)
    with pytest.raises(Misconfigured, match="is memory:"):
        await loaded(Settings(), dump)
    with pytest.raises(Misconfigured, match="is memory:"):
        await dumped(Settings())
    assert not is_there(second)


async def test_a_version_of_the_app_that_cannot_read_the_rows_is_told_at_once(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        await node.client(Shop).place("tea")
    dump = (await dumped(at(first)))["shop"]
    with pytest.raises(CouldNotStart, match=r"does not fit this version of the app.*orders\.size"):
        await loaded(at(second), dump, app=App("shop", Other))
    assert not is_there(second)


async def test_a_row_that_the_service_would_not_take_is_refused(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        await node.collection(Order).create(Order(id="7", sku="tea", number=5))
    dump = (await dumped(at(first)))["shop"]
    with pytest.raises(Malformed, match="expected rows of orders as Order declares them, got '7'"):
        await loaded(at(second), dump.replace(b'"number":5', b'"number":"five"'))


async def test_what_nobody_declares_any_more_goes_along(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        tea = await node.client(Shop).place("tea")
    bare = App("shop", Empty)
    await loaded(at(second), (await dumped(at(first), app=bare))["shop"], app=bare)
    async with Node(APP, at(second)) as node:
        assert await node.collection(Order).get(tea.id) == tea


async def test_a_dump_may_be_taken_while_the_app_runs_and_is_of_one_moment(first: Path, second: Path) -> None:
    async with Node(APP, at(first)) as node:
        async with asyncio.TaskGroup() as group:
            shop = node.client(Shop)
            calls = [group.create_task(shop.place(str(number))) for number in range(200)]
            await calls[20]
            dumps = await dumped(at(first))
        await node.settle()
    await loaded(at(second), *dumps.values())
    async with Node(APP, at(second)) as node:
        await node.settle()
        orders = [order.id async for order in node.collection(Order).scan()]
        receipts = [receipt.order_id async for receipt in node.collection(Receipt).scan()]
    assert len(orders) > 20
    assert sorted(receipts) == sorted(orders)


async def test_services_without_a_store_yet_are_left_out(first: Path) -> None:
    async with Node(APP, at(first, "shop")) as node:
        await node.client(Shop).place("tea")
    assert list(await dumped(at(first))) == ["shop"]
