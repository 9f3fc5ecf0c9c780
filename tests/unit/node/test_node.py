"""A node starts whole or not at all, stops in order, and can start again."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Protocol

import pytest

from hanse.contract.declare import Contract, rpc
from hanse.contract.model import Event, Resource
from hanse.kernel.faults import CouldNotStart, Misconfigured, Misdeclared, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.stores import open_store, store_url
from hanse.service.change import Existing
from hanse.service.collection import Collection
from hanse.service.reaction import on
from hanse.service.service import Service
from hanse.transport.memory import MemoryTransport


class Order(Resource):
    sku: str


class Placed(Event):
    sku: str


class Inventory(Contract, Protocol):
    @rpc
    async def left(self) -> int: ...


class Stock(Service, Inventory):
    levels: dict[str, int]
    unit: str = "box"

    async def left(self) -> int:
        return sum(self.levels.values())


class Shop(Service):
    inventory: Inventory
    orders: Collection[Order]

    @rpc
    async def left(self) -> int:
        return await self.inventory.left()


class Office(Service):
    orders: Collection[Order]


class Mailer(Service):
    @on(Order)
    async def told(self, change: object) -> None: ...


def values(**settings: object) -> Settings:
    return Settings(services={"inventory": ServiceSettings(settings=settings)})


LEVELS = values(levels={"tea": 3})


# Apps that do not fit together


def test_an_app_takes_services_only() -> None:
    with pytest.raises(Misdeclared, match="App takes Service classes, got <class 'int'>"):
        App("shop", int)  # type: ignore[arg-type]


def test_two_services_of_one_name_are_refused() -> None:
    class Other(Service, name="inventory"): ...

    with pytest.raises(Misdeclared, match=r"Stock and Other are both called 'inventory'; name one: `class Other"):
        App("shop", Stock, Other)


def test_two_providers_of_one_contract_are_refused() -> None:
    class Spare(Service, Inventory, name="spare"):
        async def left(self) -> int:
            return 0

    with pytest.raises(Misdeclared, match="Stock and Spare are both called 'inventory'"):
        App("shop", Stock, Spare)


def test_a_resource_has_one_owner() -> None:
    with pytest.raises(Misdeclared, match=r"Shop and Office both have a Collection\[Order\]; say .*owns="):
        App("shop", Shop, Office)


def test_of_several_services_with_a_collection_the_owner_says_so() -> None:
    class Owner(Service, owns=(Order,)):
        orders: Collection[Order]

    app = App("shop", Office, Owner)
    assert app.owners[Order].cls is Owner
    assert app.services == [Office, Owner]


def test_two_resources_of_one_collection_are_refused() -> None:
    class Bill(Resource, collection="orders"):
        sku: str

    class Books(Service):
        bills: Collection[Bill]

    with pytest.raises(Misdeclared, match=r"would both be the collection 'orders'; name one: .*collection="):
        App("shop", Office, Books)


def test_a_contract_without_a_provider_is_named() -> None:
    with pytest.raises(Misdeclared, match=r"Shop\.inventory needs Inventory, which no service of the app"):
        App("shop", Shop).check()


def test_a_resource_without_an_owner_is_named() -> None:
    with pytest.raises(Misdeclared, match=r"Mailer\.told reacts to Order, which no service of the app 'shop' owns"):
        App("shop", Mailer).check()


def test_a_group_belongs_to_one_service() -> None:
    class First(Service):
        @on(Placed, group="mail")
        async def hear(self, event: Placed) -> None: ...

    class Second(Service):
        @on(Placed, group="mail")
        async def hear(self, event: Placed) -> None: ...

    with pytest.raises(Misdeclared, match="First and Second both have the group 'mail'"):
        App("shop", First, Second).check()


# Settings that do not fit


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(), "Stock.levels has no value; set services.inventory.settings.levels in hanse.toml"),
        (
            values(levels={"tea": "many"}),
            "services.inventory.settings.levels does not fit Stock.levels: /tea",
        ),
        (values(levels={}, color="red"), "services.inventory.settings has 'color', but Stock has levels, unit"),
        (
            Settings(services={"stock": ServiceSettings(settings={"levels": {}})}),
            "services.stock.settings is set, but the app 'shop' has the services inventory",
        ),
        (
            Settings(services={"inventory": ServiceSettings(store="tape:", settings={"levels": {}})}),
            "no store for 'tape:'",
        ),
    ],
)
async def test_settings_that_do_not_fit_are_explained(settings: Settings, told: str) -> None:
    node = Node(App("shop", Stock), settings)
    with pytest.raises(Misconfigured, match=told):
        await node.start()
    assert node.state in ("new", "stopped")


def test_a_transport_that_is_not_there_is_refused() -> None:
    with pytest.raises(Misconfigured, match="'carrier:' names none of the transports that are installed"):
        Node(App("shop", Stock), Settings(node=NodeSettings(transport="carrier://x")))


async def test_values_arrive_as_their_types() -> None:
    settings = values(levels={"tea": "3"}, unit="bag")
    async with Node(App("shop", Stock), settings) as node:
        assert await node.client(Inventory).left() == 3


async def test_a_client_of_what_nobody_provides_is_refused() -> None:
    node = Node(App("shop", Stock), LEVELS)
    with pytest.raises(Misconfigured, match="no service of the app 'shop' provides Shop"):
        node.client(Shop)


# Starting


class Hooked(Service, name="hooked"):
    """Notes what happens to it."""

    trouble: str = ""

    async def started(self) -> None:
        NOTES.append("started")
        if self.trouble == "start":
            raise Unavailable("no")
        if self.trouble == "settings":
            raise Misconfigured("expected another trouble")

    async def stopping(self) -> None:
        NOTES.append("stopping")
        if self.trouble == "stop":
            raise Unavailable("no")


NOTES: list[str] = []


@pytest.fixture(autouse=True)
def _notes() -> None:
    NOTES.clear()


def hooked(trouble: str = "") -> Settings:
    return Settings(services={"hooked": ServiceSettings(settings={"trouble": trouble})})


async def test_a_start_that_fails_undoes_what_was_done() -> None:
    transport = MemoryTransport()
    node = Node(App("shop", Hooked), hooked("start"), transport=transport)
    with pytest.raises(CouldNotStart, match=r"hooked\.started failed: Unavailable: no"):
        await node.start()
    assert (node.state, NOTES, node.hosted) == ("stopped", ["started", "stopping"], [])
    async with Node(App("shop", Hooked), hooked(), transport=transport) as again:
        assert again.state == "ready"


async def test_a_service_that_cannot_use_its_settings_says_so_itself() -> None:
    with pytest.raises(Misconfigured, match=r"^expected another trouble$"):
        await Node(App("shop", Hooked), hooked("settings")).start()


async def test_a_second_start_is_refused() -> None:
    async with Node(App("shop", Hooked), hooked()) as node:
        with pytest.raises(Misconfigured, match="this node is ready already"):
            await node.start()
        assert node.state == "ready"


async def test_a_node_starts_again_after_a_stop(tmp_path: Path) -> None:
    settings = Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}"))
    node = Node(App("shop", Office), settings)
    for count in (1, 2):
        await node.start()
        orders = node.collection(Order)
        await orders.create(Order(sku="tea"))
        assert await orders.count() == count
        assert isinstance(await anext(orders.follow()), Existing)
        await node.stop()


async def test_an_app_that_does_not_fit_leaves_the_node_new() -> None:
    node = Node(App("shop", Shop))
    with pytest.raises(Misdeclared):
        await node.start()
    assert node.state == "new"
    await node.stop()


async def test_a_store_that_refuses_leaves_nothing_open(tmp_path: Path) -> None:
    file = tmp_path / "office.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE something_else (id TEXT)")
    connection.execute("PRAGMA user_version = 9999")
    connection.commit()
    connection.close()
    before = threading.active_count()
    node = Node(App("shop", Hooked, Office), Settings(node=NodeSettings(store=f"sqlite:///{tmp_path}")))
    with pytest.raises(CouldNotStart):
        await node.start()
    assert (node.state, NOTES) == ("stopped", [])
    assert threading.active_count() <= before + 1, "but for the loop's own thread pool"


# Stopping


async def test_a_stop_happens_once_however_often_it_is_asked_for() -> None:
    node = Node(App("shop", Hooked), hooked())
    await node.stop()
    await node.start()
    await asyncio.gather(node.stop(), node.stop())
    await node.stop()
    assert (node.state, NOTES) == ("stopped", ["started", "stopping"])


async def test_a_hook_that_fails_keeps_nothing_else_from_being_closed(tmp_path: Path) -> None:
    settings = Settings(
        node=NodeSettings(store=f"sqlite:///{tmp_path}"),
        services={"hooked": ServiceSettings(settings={"trouble": "stop"})},
    )
    node = Node(App("shop", Office, Hooked), settings)
    await node.start()
    [store, _] = [hosted.store for hosted in node.hosted]
    with pytest.raises(Unavailable):
        await node.stop()
    assert node.state == "stopped"
    with pytest.raises(Unavailable):
        await store.head()


class Slow(Service):
    @rpc
    async def wait(self) -> str:
        EVENTS["arrived"].set()
        await EVENTS["gate"].wait()
        return "done"


EVENTS: dict[str, asyncio.Event] = {}


@pytest.fixture
async def slow() -> Node:
    EVENTS.update(arrived=asyncio.Event(), gate=asyncio.Event())
    node = Node(App("shop", Slow))
    await node.start()
    return node


async def wait(node: Node) -> str:
    return await node.client(Slow).wait()


async def test_a_stop_waits_for_what_is_under_way(slow: Node) -> None:
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(wait(slow))
        await EVENTS["arrived"].wait()
        stop = tasks.create_task(slow.stop())
        while slow.state != "draining":  # noqa: ASYNC110 - a state sets no event
            await asyncio.sleep(0)
        EVENTS["gate"].set()
        assert await call == "done"
        await stop


class Waiter(Service):
    slow: Slow

    @rpc
    async def serve(self) -> str:
        first = await self.slow.wait()
        return f"{first}, and again: {await self.slow.wait()}"


async def test_what_is_under_way_at_a_stop_may_still_call_its_neighbours() -> None:
    EVENTS.update(arrived=asyncio.Event(), gate=asyncio.Event())
    node = Node(App("shop", Slow, Waiter))
    await node.start()
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(node.client(Waiter).serve())
        await EVENTS["arrived"].wait()
        stop = tasks.create_task(node.stop())
        while node.state != "draining":  # noqa: ASYNC110 - a state sets no event
            await asyncio.sleep(0)
        EVENTS["gate"].set()
        assert await call == "done, and again: done"
        await stop


async def test_a_stop_lets_no_more_calls_in(slow: Node) -> None:
    """Under steady load a node would never come to its end, and cut off whoever came last."""
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(wait(slow))
        await EVENTS["arrived"].wait()
        stop = tasks.create_task(slow.stop())
        while slow.state != "draining":  # noqa: ASYNC110 - a state sets no event
            await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="this node is stopping"):
            await wait(slow)
        EVENTS["gate"].set()
        assert await call == "done"
        await stop


@pytest.mark.virtual_time
async def test_a_stop_does_not_wait_longer_than_its_grace(slow: Node, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(wait(slow))
        await EVENTS["arrived"].wait()
        await slow.stop(grace=2.0)
        call.cancel()
    assert "1 operations were still running at the end of the grace" in caplog.text
    assert asyncio.get_running_loop().time() == pytest.approx(2.0)


async def test_nodes_of_one_process_may_share_a_transport() -> None:
    transport = MemoryTransport()
    stock = Node(App("stock", Stock), LEVELS, transport=transport)
    async with Node(App("both", Stock, Shop), LEVELS, transport=MemoryTransport()) as both:
        assert await both.client(Shop).left() == 3
    async with stock, Node(App("office", Office), transport=transport) as office:
        await stock.stop()
        assert (await office.collection(Order).find()).items == []
        with pytest.raises(UnknownOperation):
            await stock.client(Inventory).left()


# The rest


async def test_a_node_tells_how_its_stores_are() -> None:
    async with Node(App("shop", Office)) as node:
        assert (await node.health())["store:office"].state == "ok"
        await node.hosted[0].store.close()
        seen = (await node.health())["store:office"]
        assert (seen.state, seen.why) == ("failing", "the store is closed: open it first")
    assert node.state == "stopped", "a store that is away does not keep a node from stopping"


async def test_operations_may_be_called_by_their_description() -> None:
    async with Node(App("shop", Stock), LEVELS) as node:
        [description] = node.descriptions
        operation = description.operations["left"]
        for _ in range(2):
            assert await node.invoke(operation, operation.arguments()) == 3


async def test_a_service_is_called_by_its_class_too() -> None:
    async with Node(App("both", Stock, Shop), LEVELS) as node:
        assert await node.client(Shop).left() == await node.client(Stock).left() == 3
        assert (await node.rows(Order).count()) == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory:", "memory:"),
        ("postgresql://host/{service}", "postgresql://host/orders"),
        ("sqlite:///data/", "sqlite:///data/orders.db"),
        ("sqlite:///a.b/shop.db?sync=full", "sqlite:///a.b/shop-orders.db?sync=full"),
        ("sqlite:////.hidden", "sqlite:////.hidden/orders.db"),
    ],
)
def test_each_service_has_a_store_of_its_own(url: str, expected: str) -> None:
    assert store_url(url, "orders") == expected


def test_a_store_that_nothing_knows_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"no store for 'tape:'; expected memory:, sqlite:///path"):
        open_store("tape://x")


async def test_the_logs_of_a_node_take_their_ids_from_its_host() -> None:
    ids: list[str] = []
    for seed in (1, 1, 2):
        async with Node(App("shop", Office), host=Host.fixed(wall=1_700_000_000.0, seed=seed)) as node:
            ids.append(node.hosted[0].store.log_id)
    assert ids[0] == ids[1] != ids[2]
