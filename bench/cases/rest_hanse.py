"""Sales over REST on SQLite, by Hanse."""

from hanse import App, Collection, Gateway, Resource, Service


class Sale(Resource):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Desk(Service):
    sales: Collection[Sale]


app = App("desk", Desk, gateway=Gateway().resources(Sale, path="/sales"))
