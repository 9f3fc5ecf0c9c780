"""Sections 3.1 to 3.5 of the design, as they stand there, but for what later versions bring (sagas, replicas)."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Protocol

from hanse import (
    App,
    Change,
    Collection,
    Contract,
    Event,
    Fault,
    Gateway,
    Held,
    Model,
    Resource,
    Service,
    cpu,
    every,
    on,
    policy,
    rpc,
    rule,
)


# 3.1 A contract: the only thing that another team imports
class Hold(Model):
    id: str
    sku: str
    quantity: int


class OutOfStock(Fault):
    sku: str
    left: int


class Inventory(Contract, Protocol, version="1.4"):
    """Stock levels, and short holds on them."""

    @rpc
    async def reserve(self, sku: str, quantity: int) -> Hold: ...

    @rpc(idempotent=True)
    async def release(self, hold_id: str) -> None: ...

    @rpc
    def watch(self, sku: str) -> AsyncIterator[int]: ...


class OrderPlaced(Event):
    order_id: str
    amount: Decimal


class PlaceOrder(Model):
    sku: str
    quantity: int
    amount: Decimal


class Order(Resource):
    sku: str
    amount: Decimal
    status: str = "new"


class Payments(Contract, Protocol):
    @rpc
    async def charge(self, order_id: str, amount: Decimal) -> str: ...

    @rpc
    async def refund(self, charge_id: str) -> None: ...


class Orders(Contract, Protocol):
    @rpc
    async def place(self, command: PlaceOrder) -> Order: ...


# 3.2 A service: a plain class, checked against its contract
class InventoryService(Service, Inventory):
    stock: dict[str, int]

    async def reserve(self, sku: str, quantity: int) -> Hold:
        left = self.stock.get(sku, 0)
        if left < quantity:
            raise OutOfStock(sku, left)
        self.stock[sku] = left - quantity
        return Hold(id=f"{sku}-{left}", sku=sku, quantity=quantity)

    async def release(self, hold_id: str) -> None:
        sku, _, left = hold_id.rpartition("-")
        self.stock[sku] = int(left)

    async def watch(self, sku: str) -> AsyncIterator[int]:
        yield self.stock[sku]


class PaymentService(Service, Payments):
    async def charge(self, order_id: str, amount: Decimal) -> str:
        return f"{order_id}:{amount}"

    async def refund(self, charge_id: str) -> None: ...


# 3.3 Resources, change feed, events: one unit of work
class OrderService(Service, Orders):
    inventory: Inventory
    payments: Payments
    orders: Collection[Order]

    async def place(self, command: PlaceOrder) -> Order:
        order = await self.orders.create(Order(sku=command.sku, amount=command.amount))
        hold = await self.inventory.reserve(command.sku, command.quantity)
        await policy(self.payments, timeout="2s").charge(order.id, command.amount)
        paid = await self.orders.patch(order.id, status=f"paid:{hold.id}")
        await self.emit(OrderPlaced(order_id=paid.id, amount=paid.amount))
        return paid


# 3.4 Reactions
class Mailer(Service):
    notes: list[str]

    @on(OrderPlaced, key=lambda e: e.order_id)
    async def receipt(self, event: OrderPlaced) -> None:
        self.notes.append(f"receipt over {event.amount}")

    @on(Order)
    async def watch(self, change: Change[Order]) -> None:
        self.notes.append(type(change).__name__)

    @rule(Order, where=lambda o: o.status == "new", every="10m", lease="30s")
    async def remind(self, order: Held[Order]) -> None:
        self.notes.append(f"pay for your {order.value.sku}")
        await order.patch(status="reminded")

    @every("1h")
    async def digest(self) -> None:
        self.notes.append("digest")


@cpu
def render(source: str) -> bytes:
    return source.upper().encode()


# 3.5 The outside
gateway = Gateway()
gateway.resources(Order, path="/orders", live=True)
gateway.rpc(Orders)
app = App("shop", InventoryService, PaymentService, OrderService, Mailer, gateway=gateway)
