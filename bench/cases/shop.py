"""The services that are measured, and the order that all cases hand around."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hanse import App, Collection, Event, Model, Resource, Service, on, rpc


class Order(Model):
    """What a call takes and gives back: about 90 bytes of JSON."""

    number: int
    customer: str
    tags: list[str]
    amount: float


ORDER = Order(number=123_456, customer="Ada Lovelace, London", tags=["tea", "gift", "fragile"], amount=1234.56)
PLAIN = {"number": 123_456, "customer": "Ada Lovelace, London", "tags": ["tea", "gift", "fragile"], "amount": 1234.56}


class Placed(Event):
    """An order came in."""

    number: int
    customer: str


class Sale(Resource):
    """An order as a row."""

    number: int
    customer: str
    tags: list[str]
    amount: float


STREAMED = 1_000


class Desk(Service):
    """Everything that a case calls."""

    sales: Collection[Sale]

    @rpc
    async def check(self, order: Order) -> Order:
        return order

    @rpc
    async def sell(self, order: Order) -> str:
        sale = Sale(number=order.number, customer=order.customer, tags=order.tags, amount=order.amount)
        return (await self.sales.create(sale)).id

    @rpc
    async def place(self, number: int) -> None:
        await self.emit(Placed(number=number, customer="Ada Lovelace, London"))

    @rpc
    async def all(self) -> AsyncIterator[Order]:
        for _ in range(STREAMED):
            yield ORDER


class Mailer(Service):
    """Hears of orders."""

    heard: int = 0

    @on(Placed)
    async def receipt(self, event: Placed) -> None:
        self.heard += event.number


desk = App("desk", Desk)
post = App("post", Desk, Mailer)
