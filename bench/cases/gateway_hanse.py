"""A call with validation behind a gateway, by Hanse: one node hosts the service, another the gateway."""

from hanse import App, Gateway, Model, Service, rpc


class Order(Model):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Price(Model):
    customer: str
    total: float


class Desk(Service):
    @rpc
    async def price(self, sale: Order, quantity: int = 1) -> Price:
        return Price(customer=sale.customer, total=sale.amount * quantity)


app = App("desk", Desk, gateway=Gateway().rpc(Desk))
