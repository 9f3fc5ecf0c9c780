"""A call with validation, and a row in memory, by Hanse; for `hanse run`, and as ASGI for other servers."""

from hanse import App, Collection, Gateway, Model, Resource, Service, asgi, rpc


class Sale(Resource):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Order(Model):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Price(Model):
    customer: str
    total: float


class Desk(Service):
    sales: Collection[Sale]

    @rpc
    async def price(self, sale: Order, quantity: int = 1) -> Price:
        return Price(customer=sale.customer, total=sale.amount * quantity)


app = App("desk", Desk, gateway=Gateway().rpc(Desk).resources(Sale, path="/sales"))
application = asgi(app)
