"""An app apart: several nodes that host some of it each, and share a transport, do together what one does alone."""

import asyncio
from pathlib import Path

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.closing import closing
from hanse.kernel.faults import Misconfigured, Misdeclared, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Change, Existing, Updated
from hanse.service.collection import Collection
from hanse.service.held import Held
from hanse.service.reaction import on, rule
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import InlineDesk, SqliteStore
from hanse.transport.memory import MemoryTransport


class Order(Resource):
    sku: str
    status: str = "new"


class Placed(Event):
    order_id: str


class Letter(Resource):
    text: str


class Orders(Service, events=(Placed,), owns=(Order,)):
    orders: Collection[Order]

    @rpc
    async def place(self, sku: str) -> str:
        order = await self.orders.create(Order(sku=sku))
        await self.emit(Placed(order_id=order.id))
        return order.id


class Mailer(Service):
    """Hears events, hears changes, reads another's rows, and rules over them."""

    sender: str
    letters: Collection[Letter]
    orders: Collection[Order]
    shop: Orders

    @on(Placed)
    async def confirm(self, event: Placed) -> None:
        order = await self.orders.get(event.order_id)
        await self.letters.create(Letter(id=f"{order.id}_placed", text=f"{self.sender}: {order.sku} it is"))

    @on(Order)
    async def announce(self, change: Change[Order]) -> None:
        if isinstance(change, Updated):
            await self.letters.create(Letter(id=f"{change.after.id}_{change.after.status}", text=change.after.status))

    @rule(Order, where=lambda order: order.status == "new")
    async def pack(self, held: Held[Order]) -> None:
        await held.patch(status="packed")

    @rpc
    async def ask_for(self, sku: str) -> str:
        return await self.shop.place(sku)


class Plain(Service):
    @rpc
    async def ping(self) -> str:
        return "pong"


APP = App("shop", Orders, Mailer, Plain)
pytestmark = pytest.mark.virtual_time


def hosting(*names: str, folder: Path) -> Settings:
    return Settings(
        node=NodeSettings(services=names, store=f"sqlite:///{folder}", grace=20.0),
        services={"mailer": ServiceSettings(settings={"sender": "the shop"})},
    )


def inline(url: str) -> Store:
    """A file, but no thread: the loop of these tests does not wait for one."""
    return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())


class Pair:
    """Two nodes: one with the orders, one with the mailer."""

    def __init__(self, folder: Path, host: Host) -> None:
        transport = MemoryTransport()
        self.orders, self.mailer = (
            Node(APP, hosting(name, folder=folder), host=host, transport=transport, stores=inline)
            for name in ("orders", "mailer")
        )

    async def settled(self) -> list[str]:
        """The kinds of letters, once all is told and done."""
        async with asyncio.timeout(600):
            await self.orders.settle()
            await self.mailer.settle()
        return sorted([letter.id.partition("_")[2] async for letter in self.mailer.collection(Letter).scan()])

    async def packed(self, id: str) -> None:
        """Wait until the rule has had its turn."""
        async with asyncio.timeout(600), closing(self.mailer.collection(Order).follow()) as changes:
            async for change in changes:
                match change:
                    case Existing(value=order) | Updated(after=order) if (order.id, order.status) == (id, "packed"):
                        return
                    case _:
                        pass


@pytest.fixture
async def pair(tmp_path: Path, host: Host) -> Pair:
    return Pair(tmp_path, host)


# What does not fit


def test_a_service_that_the_app_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="it has orders, mailer, plain, gateway"):
        Node(APP, hosting("orders", "mail", folder=tmp_path))


async def test_the_app_has_to_fit_as_a_whole(tmp_path: Path) -> None:
    node = Node(App("shop", Mailer, Plain), hosting("plain", folder=tmp_path), stores=inline)
    with pytest.raises(Misdeclared, match=r"Mailer reacts to Order|needs Orders"):
        await node.start()


async def test_what_a_service_elsewhere_is_set_to_is_not_asked_for(tmp_path: Path) -> None:
    settings = Settings(node=NodeSettings(services=("plain",)))
    async with Node(APP, settings) as node:
        assert await node.client(Plain).ping() == "pong"
        with pytest.raises(UnknownOperation, match="no service 'orders' runs here; there are plain"):
            await node.client(Orders).place("tea")


# What a node hosts


async def test_a_node_opens_and_serves_only_what_it_hosts(pair: Pair, tmp_path: Path) -> None:
    async with pair.mailer as node:
        assert [part.name for part in node.parts] == ["mailer"]
        assert [description.name for description in node.descriptions] == ["mailer"]
        stores = [name for name in await node.health() if name.startswith("store:")]
        assert stores == ["store:mailer"]
    assert not (tmp_path / "orders.db").exists()


async def test_an_app_apart_does_what_it_does_combined(pair: Pair) -> None:
    async with pair.orders, pair.mailer:
        id = await pair.mailer.client(Mailer).ask_for("tea")
        await pair.packed(id)
        assert await pair.settled() == ["packed", "placed"]
        letter = await pair.orders.collection(Letter).get(f"{id}_placed")
        assert letter.text == "the shop: tea it is"
        assert (await pair.mailer.collection(Order).get(id)).status == "packed"


async def test_what_was_told_while_the_subscriber_was_away_is_heard_when_it_comes(pair: Pair) -> None:
    async with pair.orders:
        id = await pair.orders.client(Orders).place("tea")
        await asyncio.sleep(300.0)
        async with pair.mailer:
            await pair.packed(id)
            assert await pair.settled() == ["packed", "placed"]


async def test_a_subscriber_that_comes_back_hears_the_rest_once(pair: Pair) -> None:
    async with pair.orders:
        for sku in ("tea", "ink"):
            async with pair.mailer:
                id = await pair.orders.client(Orders).place(sku)
                await pair.packed(id)
                await pair.settled()
        async with pair.mailer:
            assert await pair.settled() == ["packed", "packed", "placed", "placed"]


async def test_a_rule_goes_on_when_the_owner_of_its_rows_is_back(pair: Pair) -> None:
    async with pair.mailer:
        for sku in ("tea", "ink"):
            async with pair.orders:
                id = await pair.orders.client(Orders).place(sku)
                await pair.packed(id)
        async with pair.orders:
            assert await pair.settled() == ["packed", "packed", "placed", "placed"]


async def test_a_stop_does_not_wait_for_a_subscriber_that_is_away(pair: Pair) -> None:
    now = asyncio.get_running_loop().time
    async with pair.orders as node:
        await node.client(Orders).place("tea")
        began = now()
        await node.stop()
    assert now() - began < 1.0, "what is left waits in the log"
    async with pair.orders, pair.mailer:
        assert "placed" in await pair.settled()
