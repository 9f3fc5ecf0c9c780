"""A small shop: four services that know of each other nothing but contracts.

hanse run examples/shop/shop.py

curl -X PUT --json '{"left": 3, "price": 500}' http://127.0.0.1:8000/items/tea
hanse call orders.place sku=tea quantity=2
curl http://127.0.0.1:8000/orders                   # packed by now
curl http://127.0.0.1:8000/letters?expand=order_id.sku
hanse call orders.place sku=tea quantity=2          # out_of_stock: only 1 of tea left

An order is new, then paid and packed; or it is declined, and refused when its stock is back on the shelf.
Whoever dies on the way, whatever gets lost, comes late or comes twice, these hold at any moment:

- There is never less than nothing on a shelf; what is left and what reservations hold is what there was.
- An order is charged at most once, and nothing is charged without an order.
- An order is paid or packed only if its payment is settled; the stock of a refused order is back.

And these in the end:

- Every order is packed or refused, and every reservation belongs to an order.
- An order that was placed has one payment and one letter about that; each order has one letter about its end.
  (One that was given up before it was placed is refused, and has neither payment nor first letter.)
"""

from contextlib import suppress
from typing import Annotated, Literal, Protocol, TypeVar

from msgspec import Meta

from hanse import (
    App,
    Change,
    Collection,
    Contract,
    Event,
    Fault,
    Gateway,
    Held,
    Link,
    NotFound,
    Resource,
    Service,
    Updated,
    current,
    on,
    rpc,
    rule,
)

Cents = Annotated[int, Meta(ge=0)]
Quantity = Annotated[int, Meta(gt=0)]


class IdUsed(Fault, detail="{order_id} is the id of another order, or of one that was given up; take a new one"):
    """An id stands for one order, for ever."""

    order_id: str


# What the inventory promises: all that another team has to import.
class OutOfStock(Fault, status=409, detail="only {left} of {sku} left"):
    """There is less than was asked for."""

    sku: str
    left: int


class Reservation(Resource):
    """What was taken off a shelf for an order, whose id it has. It is ordered, or returned if nothing came of it."""

    sku: str
    quantity: Quantity
    price: Cents
    at: float
    status: Literal["taken", "ordered", "returned"] = "taken"


class Inventory(Contract, Protocol, version="2.0", resources=(Reservation,)):
    """What is on the shelves. Asking again, for the same order, changes nothing."""

    @rpc(idempotent=True, faults=(OutOfStock, IdUsed))
    async def take(self, order_id: str, sku: str, quantity: Quantity) -> Reservation:
        """Take things off the shelf for an order."""
        ...

    @rpc(idempotent=True)
    async def give_back(self, order_id: str) -> None:
        """Put what was taken for an order back on the shelf."""
        ...


# What the orders promise.
class Order(Resource):
    """What somebody wants."""

    sku: Annotated[str, Link("items")]
    quantity: Quantity
    total: Cents
    status: Literal["new", "paid", "packed", "declined", "refused"] = "new"


class OrderPlaced(Event):
    """Somebody ordered something."""

    order_id: str
    sku: str
    quantity: int
    total: Cents


class Orders(Contract, Protocol, version="2.0", events=(OrderPlaced,), resources=(Order,)):
    """Orders, from the counter to the parcel."""

    @rpc(faults=(OutOfStock, IdUsed))
    async def place(self, sku: str, quantity: Quantity = 1, order_id: str = "") -> Order:
        """Order something. Who gives the order an id may ask again, and gets the same order, as it is by then."""
        ...


# What the payments promise.
class Payment(Resource):
    """What came of charging for an order, whose id it has."""

    amount: Cents
    status: Literal["settled", "declined"]


class PaymentSettled(Event):
    """An order is paid."""

    order_id: str


class PaymentDeclined(Event):
    """An order will not be paid."""

    order_id: str


class Payments(Contract, Protocol, version="1.0", events=(PaymentSettled, PaymentDeclined), resources=(Payment,)):
    """Charges for orders, as soon as it hears of them."""


# How they keep their promises.
R = TypeVar("R", bound=Resource)


async def known(rows: Collection[R], id: str) -> R | None:
    with suppress(NotFound):
        return await rows.get(id)
    return None


class Item(Resource):
    """A thing on the shelf. Its id is its stock-keeping unit."""

    left: Annotated[int, Meta(ge=0)]
    price: Cents


class InventoryService(Service, Inventory):
    items: Collection[Item]
    reservations: Collection[Reservation]

    async def take(self, order_id: str, sku: str, quantity: Quantity) -> Reservation:
        taken = await known(self.reservations, order_id)
        if taken is None:
            item = await self._move(sku, -quantity)
            return await self.reservations.create(
                Reservation(id=order_id, sku=sku, quantity=quantity, price=item.price, at=current().host.now())
            )
        if taken.status == "returned" or (taken.sku, taken.quantity) != (sku, quantity):
            raise IdUsed(order_id)
        return taken

    async def give_back(self, order_id: str) -> None:
        taken = await self.reservations.get(order_id)
        if taken.status == "returned":
            return
        await self.reservations.patch(order_id, status="returned")
        await self._move(taken.sku, taken.quantity)

    async def _move(self, sku: str, by: int) -> Item:
        # Whoever moves the same item between this and the commit makes it a Conflict, which callers try again.
        item = await self.items.get(sku)
        if item.left + by < 0:
            raise OutOfStock(sku=sku, left=item.left)
        return await self.items.patch(sku, left=item.left + by)

    @on(OrderPlaced, key=lambda event: event.order_id)
    async def ordered(self, event: OrderPlaced) -> None:
        taken = await self.reservations.get(event.order_id)
        if taken.status == "taken":
            await self.reservations.patch(taken.id, status="ordered")


class OrderService(Service, Orders):
    inventory: Inventory
    orders: Collection[Order]
    patience: float = 30.0
    """Seconds after which a reservation should have its order."""

    async def place(self, sku: str, quantity: Quantity = 1, order_id: str = "") -> Order:
        order_id = order_id or current().host.new_id()
        order = await known(self.orders, order_id)
        if order is None:
            taken = await self.inventory.take(order_id, sku, quantity)
            total = quantity * taken.price
            # The order and the news of it are one commit: never one without the other. Should it not come to that,
            # what was taken is found by its id: by whoever asks again, else by `give_up`.
            order = await self.orders.create(Order(id=order_id, sku=sku, quantity=quantity, total=total))
            await self.emit(OrderPlaced(order_id=order_id, sku=sku, quantity=quantity, total=total))
        elif (order.sku, order.quantity) != (sku, quantity):
            raise IdUsed(order_id)
        return order

    @on(PaymentSettled, key=lambda event: event.order_id)
    async def paid(self, event: PaymentSettled) -> None:
        await self._decide(event.order_id, "paid")

    @on(PaymentDeclined, key=lambda event: event.order_id)
    async def declined(self, event: PaymentDeclined) -> None:
        await self._decide(event.order_id, "declined")

    async def _decide(self, order_id: str, status: str) -> None:
        # An event that is told again must not bring back what is packed by now.
        order = await self.orders.get(order_id)
        if order.status == "new":
            await self.orders.patch(order_id, status=status)

    @rule(Order, where=lambda order: order.status == "paid", every="1m")
    async def pack(self, order: Held[Order]) -> None:
        await order.patch(status="packed")

    @rule(Order, where=lambda order: order.status == "declined", every="1m")
    async def refuse(self, order: Held[Order]) -> None:
        # A rule, not the handler of the event: it asks for as long as the inventory is away, and is never parked.
        await self.inventory.give_back(order.value.id)
        await order.patch(status="refused")

    @rule(Reservation, where=lambda taken: taken.status == "taken", every="10s")
    async def give_up(self, reservation: Held[Reservation]) -> None:
        # `place` may have ended between the reservation and the order. Then its id is used up, here, where the order
        # would be: a `place` that is only late finds a Conflict, so that stock cannot be both returned and ordered.
        taken = reservation.value
        waited = current().host.now() - taken.at
        if waited >= self.patience and await known(self.orders, taken.id) is None:
            await self.orders.create(
                Order(id=taken.id, sku=taken.sku, quantity=taken.quantity, total=0, status="declined")
            )


class PaymentService(Service, Payments):
    payments: Collection[Payment]
    limit: Cents = 100_00

    @on(OrderPlaced, key=lambda event: event.order_id)
    async def charge(self, event: OrderPlaced) -> None:
        if await known(self.payments, event.order_id) is not None:
            return
        settled = event.total <= self.limit
        await self.payments.create(
            Payment(id=event.order_id, amount=event.total, status="settled" if settled else "declined")
        )
        await self.emit((PaymentSettled if settled else PaymentDeclined)(order_id=event.order_id))


class Letter(Resource):
    """What was written to the customer. Its id is the order's and what it is about: there is one of each."""

    order_id: Annotated[str, Link(Order)]
    text: str


class Mailer(Service):
    letters: Collection[Letter]

    @on(OrderPlaced, key=lambda event: event.order_id)
    async def confirm(self, event: OrderPlaced) -> None:
        await self._write(event.order_id, "placed", f"{event.quantity} of {event.sku} it is!")

    @on(Order)
    async def tell(self, change: Change[Order]) -> None:
        match change:
            case Updated(after=Order(status="packed") as order):
                await self._write(order.id, "packed", f"{order.quantity} of {order.sku} on the way!")
            case Updated(after=Order(status="refused") as order):
                await self._write(order.id, "refused", f"No {order.sku} for you, and nothing to pay.")
            case _:
                pass

    async def _write(self, order_id: str, about: str, text: str) -> None:
        await self.letters.put(Letter(id=f"{order_id}.{about}", order_id=order_id, text=text))


gateway = Gateway()
gateway.resources(Item, path="/items")
gateway.resources(Order, path="/orders", write=False)
gateway.resources(Payment, path="/payments", write=False)
gateway.resources(Letter, path="/letters", write=False)
gateway.rpc(Orders)

app = App("shop", InventoryService, OrderService, PaymentService, Mailer, gateway=gateway)
