"""Right uses of all that is public: nothing here may be reported."""

import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Protocol, assert_type, cast

from msgspec import Meta, field

from hanse import (
    App,
    Change,
    Collection,
    Contract,
    Created,
    Deleted,
    Event,
    Existing,
    Fault,
    Gateway,
    Guard,
    Header,
    Held,
    Link,
    Model,
    Node,
    Page,
    Ready,
    Request,
    Reset,
    Resource,
    Response,
    Service,
    Settings,
    Updated,
    anyone,
    authenticated,
    contains,
    cpu,
    cron,
    current,
    desc,
    every,
    holds,
    not_,
    on,
    one_of,
    policy,
    rpc,
    rule,
    scope,
    send,
)


class Size(Model):
    width: Annotated[int, Meta(gt=0)] = 1


@dataclasses.dataclass
class Point:
    x: int


class OutOfStock(Fault, status=409, retryable=True, detail="only {left} of {sku} left"):
    sku: str
    left: int = 0


class Customer(Resource):
    name: str


class Order(Resource, collection="orders"):
    sku: str
    customer: Annotated[str, Link(Customer)] = ""
    gifts: list[Annotated[str, Link("orders")]] = field(default_factory=list[str])
    amount: Decimal = Decimal(0)
    paid: bool = False
    note: str | None = None
    size: Size = Size()
    tags: list[str] = field(default_factory=list[str])


class Placed(Event, version=2):
    order_id: str


class Inventory(Contract, Protocol, version="1.4"):
    @rpc(
        idempotent=True, timeout="2s", route="GET /stock/{sku}", allow=scope("a") | authenticated, faults=(OutOfStock,)
    )
    async def left(self, sku: str, at: Point | None = None, *, exact: bool = False) -> int: ...

    @rpc
    def watch(self, sku: str) -> AsyncIterator[Size]: ...


class Stock(Service, Inventory):
    levels: dict[str, int]

    async def left(self, sku: str, at: Point | None = None, *, exact: bool = False) -> int:
        if sku not in self.levels:
            raise OutOfStock(sku, left=0)
        return self.levels[sku]

    async def watch(self, sku: str) -> AsyncIterator[Size]:
        yield Size(width=self.levels[sku])


class Shop(Service, name="shop", events=(Placed,), owns=(Order,)):
    inventory: Inventory
    stock: Stock
    orders: Collection[Order]
    greeting: str = "Hello"

    @rpc(allow=anyone)
    async def place(self, sku: str) -> Order:
        assert_type(await self.inventory.left(sku, exact=True), int)
        assert_type(await policy(self.inventory, timeout=timedelta(seconds=2), retry=True).left(sku), int)
        await send(self.stock.left, sku, Point(1))
        order = await self.orders.create(Order(sku=sku, amount=Decimal("2.50")))
        await self.emit(Placed(order_id=order.id))
        current().tag(booking_ref=order.id)
        return await self.orders.patch(order.id, paid=True)

    @on(Placed, key=lambda e: e.order_id, group="receipts", attempts=3)
    async def receipt(self, event: Placed) -> None: ...

    @on(Order)
    async def changed(self, change: Change[Order]) -> None:
        match change:
            case Created(after=order):
                assert_type(order, Order)
            case Updated(before=old, after=new):
                assert_type((old, new), tuple[Order, Order])
            case Deleted(before=order):
                assert_type(order, Order)

    @rule(Order, where=lambda o: not_(o.paid) & (o.amount > 3), every="10m", lease=30.0, concurrency=4)
    async def remind(self, order: Held[Order]) -> None:
        assert_type(order.value, Order)
        await order.patch(note="reminded")

    @cron("30 7 * * mon-fri", zone="Europe/Berlin")
    async def report(self, due: datetime) -> None: ...

    @every(timedelta(hours=1))
    async def digest(self) -> None: ...


@cpu
def render(source: str) -> bytes:
    return source.encode()


async def read(orders: Collection[Order]) -> None:
    page = await orders.find(
        lambda o: one_of(o.sku, ["tea"]) | holds(o.tags, "x") | contains(o.sku.casefold(), "t") | (o.size.width == 3),
        sort=lambda o: (desc(o.amount), o.sku),
        limit=10,
    )
    assert_type(page, Page[Order])
    assert_type(await orders.count(lambda o: o.paid), int)
    async for order in orders.scan(lambda o: o.sku.startswith("t")):
        assert_type(order, Order)
    async for item in orders.follow(after="x"):
        match item:
            case Existing(value=row):
                assert_type(row, Order)
            case Ready(cursor=cursor):
                assert_type(cursor, str)
            case Reset():
                pass
            case _:
                assert_type(item.cursor, str)


async def main() -> None:
    gateway = Gateway()
    gateway.resources(Order, path="/orders", live=True, require_match=True, strict=True)
    gateway.rpc(Inventory)

    @gateway.get("/stock/{sku}", allow=authenticated, timeout="2s")
    async def stock(
        sku: str, inventory: Inventory, orders: Collection[Order], tenant: Annotated[str, Header("x-tenant")] = ""
    ) -> dict[str, int]:
        return {sku: await inventory.left(sku), tenant: await orders.count()}

    @gateway.post("/plain", status=201)
    def plain(request: Request) -> Response:
        return Response.of(request.path, headers={"location": "/"})

    assert_type(plain(Request({}, cast("Any", None), cast("Any", None))), Response)
    app = App("shop", Shop, Stock, gateway=gateway)
    async with Node(app, Settings()) as node:
        assert_type(await node.client(Inventory).left("tea"), int)
        assert_type(await node.client(Shop).place("tea"), Order)
        assert_type(await node.collection(Order).get("42"), Order)
    assert_type(await render("tea"), bytes)
    assert_type(await Stock(levels={}).left("tea"), int)
    assert_type(OutOfStock("tea").left, int)


admin = Guard(lambda who: who.tenant == "acme", "the tenant acme") & scope("admin")
