"""A small shop: three services that know of each other nothing but contracts.

hanse run examples/shop/shop.py

curl -X PUT --json '{"left": 3}' http://127.0.0.1:8000/items/tea
hanse call orders.place sku=tea quantity=2
curl http://127.0.0.1:8000/orders
curl http://127.0.0.1:8000/letters
hanse call orders.place sku=tea quantity=2          # out_of_stock: only 1 of tea left
"""

from typing import Protocol

from hanse import App, Collection, Contract, Event, Fault, Gateway, Held, Resource, Service, on, rpc, rule


# What the inventory promises: all that another team has to import.
class OutOfStock(Fault, status=409, detail="only {left} of {sku} left"):
    """There is less than was asked for."""

    sku: str
    left: int


class Inventory(Contract, Protocol, version="1.0"):
    """What is on the shelves."""

    @rpc(faults=(OutOfStock,))
    async def take(self, sku: str, quantity: int) -> int:
        """Take things off the shelf; how many are left."""
        ...


# What the orders promise.
class Order(Resource):
    """What somebody wants. It is new, then packed."""

    sku: str
    quantity: int
    status: str = "new"


class OrderPlaced(Event):
    """Somebody ordered something."""

    order_id: str
    sku: str
    quantity: int


class Orders(Contract, Protocol, version="1.0", events=(OrderPlaced,), resources=(Order,)):
    """Orders, from the counter to the parcel."""

    @rpc(faults=(OutOfStock,))
    async def place(self, sku: str, quantity: int = 1) -> Order:
        """Order something."""
        ...


# How they keep their promises.
class Item(Resource):
    """A thing on the shelf. Its id is its stock-keeping unit."""

    left: int


class InventoryService(Service, Inventory):
    items: Collection[Item]

    async def take(self, sku: str, quantity: int) -> int:
        item = await self.items.get(sku)
        if item.left < quantity:
            raise OutOfStock(sku=sku, left=item.left)
        # Of two who took from the same shelf at once, the second is told so: Conflict, and nothing was written.
        item = await self.items.patch(sku, left=item.left - quantity)
        return item.left


class OrderService(Service, Orders):
    inventory: Inventory
    orders: Collection[Order]

    async def place(self, sku: str, quantity: int = 1) -> Order:
        await self.inventory.take(sku, quantity)
        order = await self.orders.create(Order(sku=sku, quantity=quantity))
        # The order and the news of it are one commit: never one without the other.
        await self.emit(OrderPlaced(order_id=order.id, sku=sku, quantity=quantity))
        return order

    @rule(Order, where=lambda order: order.status == "new", every="10m")
    async def pack(self, order: Held[Order]) -> None:
        await order.patch(status="packed")


class Letter(Resource):
    """What was written to the customer."""

    order_id: str
    text: str


class Mailer(Service):
    letters: Collection[Letter]

    @on(OrderPlaced, key=lambda event: event.order_id)
    async def confirm(self, event: OrderPlaced) -> None:
        await self.letters.create(Letter(order_id=event.order_id, text=f"{event.quantity} of {event.sku} it is!"))


gateway = Gateway()
gateway.resources(Item, path="/items")
gateway.resources(Order, path="/orders", write=False)
gateway.resources(Letter, path="/letters", write=False)
gateway.rpc(Orders)

app = App("shop", InventoryService, OrderService, Mailer, gateway=gateway)
