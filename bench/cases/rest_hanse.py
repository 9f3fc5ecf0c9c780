"""Sales over REST on SQLite, by Hanse."""

from hanse import App, Collection, Gateway, Model, Resource, Service


class Sale(Resource):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Desk(Service):
    sales: Collection[Sale]


class Order(Model):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Price(Model):
    id: str
    customer: str
    total: float


gateway = Gateway().resources(Sale, path="/sales")


@gateway.post("/sales/{id}/price")
async def price(id: str, sale: Order, quantity: int = 1, express: bool = False) -> Price:  # noqa: FBT001, FBT002 - a query
    return Price(id=id, customer=sale.customer, total=sale.amount * quantity + (5 if express else 0))


app = App("desk", Desk, gateway=gateway)
