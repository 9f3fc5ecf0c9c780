"""Handlers that nobody calls."""

from hanse import Change, Event, Held, Resource, Service, every, on, rule


class OrderPlaced(Event):
    order_id: str


class Order(Resource):
    status: str = "new"


class Thumbnail(Resource):
    status: str = "new"


class Mailer(Service):
    @on(OrderPlaced)
    async def receipt(self, event: OrderPlaced) -> None: ...

    @on(Order)
    async def watch(self, change: Change[Order]) -> None: ...

    @rule(Order, where=lambda o: o.status == "new")
    async def remind(self, order: Held[Order]) -> None: ...

    @every("1h")
    async def digest(self) -> None: ...


class Confused(Service):
    @on(OrderPlaced)  # error: the handler takes an order, not its event
    async def receipt(self, event: Order) -> None: ...

    @on(Order)  # error: the handler takes a row, not a change
    async def watch(self, change: Order) -> None: ...

    @on(OrderPlaced, key=lambda e: e.id)  # error: an event has no id
    async def keyed(self, event: OrderPlaced) -> None: ...

    @on(OrderPlaced)  # error: no coroutine
    def blocking(self, event: OrderPlaced) -> None: ...

    @rule(Order, where=lambda o: o.statuss == "new")  # error: no such field
    async def misspelt(self, order: Held[Order]) -> None: ...

    @rule(Order)  # error: the handler takes another resource
    async def remind(self, order: Held[Thumbnail]) -> None: ...

    @every("1h")  # error: nothing to give to the handler
    async def digest(self, since: float) -> None: ...


async def write(service: Mailer, order: Held[Order]) -> None:
    await service.emit(Order())  # error: a resource is no event
    await order.put(Thumbnail())  # error: another resource
