"""The sketches of the design run."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest

from hanse import Collection, Created, Deleted, Node, Service, Settings, Updated, rpc
from hanse.kernel.closing import closing
from hanse.kernel.settings import ServiceSettings
from hanse.node.app import App

from .shop import (
    Inventory,
    InventoryService,
    Mailer,
    Order,
    OrderPlaced,
    Orders,
    OrderService,
    OutOfStock,
    PlaceOrder,
    app,
    gateway,
    render,
)

TEA = PlaceOrder(sku="tea", quantity=2, amount=Decimal("3.50"))
SETTINGS = Settings(
    services={
        "inventory": ServiceSettings(settings={"stock": {"tea": 3}}),
        "mailer": ServiceSettings(settings={"notes": []}),
    }
)


class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return f"Hello, {name}!"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with Node(app, SETTINGS) as node:
        yield node


def notes(node: Node) -> list[str]:
    return next(hosted.instance.notes for hosted in node.hosted if isinstance(hosted.instance, Mailer))


async def test_three_lines_are_a_whole_program() -> None:
    async with Node(App("hello", Greeter)) as node:
        assert await node.client(Greeter).hello("Ada") == "Hello, Ada!"


async def test_a_unit_test_constructs_the_class() -> None:
    assert (await InventoryService(stock={"tea": 3}).reserve("tea", 2)).quantity == 2


async def test_a_fault_arrives_as_its_own_class(node: Node) -> None:
    inventory = node.client(Inventory)
    with pytest.raises(OutOfStock) as caught:
        await inventory.reserve("tea", 4)
    assert (caught.value.sku, caught.value.left) == ("tea", 3)
    assert [left async for left in inventory.watch("tea")] == [3]
    await inventory.release((await inventory.reserve("tea", 1)).id)


async def test_an_order_is_placed_in_one_unit_of_work(node: Node) -> None:
    order = await node.client(Orders).place(TEA)
    assert order.status == "paid:tea-3"
    with pytest.raises(OutOfStock):
        await node.client(Orders).place(TEA)
    assert await node.collection(Order).count() == 1
    await node.settle()
    assert "receipt over 3.50" in notes(node)
    assert notes(node).count("Created") == 1


async def tell(orders: Collection[Order], cursor: str, count: int) -> list[str]:
    told: list[str] = []
    async with closing(orders.changes(lambda o: o.status == "paid", after=cursor)) as changes:
        async for change in changes:
            match change:
                case Created(after=order):
                    told.append(f"{order.sku} is {order.status}")
                case Updated(before=old, after=new):
                    told.append(f"{old.amount} becomes {new.amount}")
                case Deleted(before=order):
                    told.append(f"{order.sku} is gone")
            if len(told) == count:
                break
    return told


async def test_changes_are_matched(node: Node) -> None:
    orders = node.collection(Order)
    cursor = await orders.cursor()
    order = await orders.create(Order(sku="tea", amount=Decimal(1), status="paid"))
    await orders.patch(order.id, amount=Decimal(2))
    await orders.delete(order.id)
    assert await tell(orders, cursor, 3) == ["tea is paid", "1 becomes 2", "tea is gone"]


async def test_a_rule_runs_for_each_row_that_matches(node: Node) -> None:
    orders = node.collection(Order)
    cursor = await orders.cursor()
    await orders.create(Order(sku="tea", amount=Decimal(1)))
    async with asyncio.timeout(10), closing(orders.changes(lambda o: o.status == "reminded", after=cursor)) as changes:
        assert isinstance(await anext(changes), Created)
    assert "pay for your tea" in notes(node)


async def test_work_for_the_processor_runs_elsewhere(node: Node) -> None:
    assert await render("tea") == b"TEA"


async def ask(node: Node, method: str, path: str, value: object = None) -> tuple[int, object]:
    """One request to the gateway, as any ASGI server would make it."""
    body = b"" if value is None else msgspec.json.encode(value, enc_hook=str)
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, object]) -> None:
        sent.append(event)

    headers = [(b"content-type", b"application/json"), (b"host", b"test")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method}
    address = {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "root_path": ""}
    await gateway.asgi(node)({**scope, **address, "client": ("127.0.0.1", 1), "server": ("test", 80)}, receive, send)  # type: ignore[arg-type]
    answer = b"".join(event["body"] for event in sent[1:] if isinstance(event["body"], bytes))
    status = sent[0]["status"]
    assert isinstance(status, int)
    return status, msgspec.json.decode(answer)


async def test_the_gateway_serves_resources_and_operations(node: Node) -> None:
    status, placed = await ask(node, "POST", "/rpc/orders/place", {"command": TEA})
    assert status == 200
    order = msgspec.convert(placed, Order)
    assert (await ask(node, "GET", f"/orders/{order.id}")) == (200, placed)
    status, problem = await ask(node, "POST", "/rpc/orders/place", {"command": TEA})
    assert (status, isinstance(problem, dict) and problem["code"]) == (409, "out_of_stock")
    status, _ = await ask(node, "POST", "/rpc/inventory/reserve", {"sku": "tea", "quantity": 1})
    assert status == 404, "what is not exposed is not there"


async def test_services_are_wired_by_hand_as_well() -> None:
    service = OrderService(inventory=InventoryService(stock={}), payments=None, orders=None)  # type: ignore[arg-type]
    await service.emit(OrderPlaced(order_id="1", amount=Decimal(1)))
    with pytest.raises(OutOfStock):
        await service.inventory.reserve("tea", 1)
