"""What orders promise; all that another service imports."""

from typing import Annotated, Protocol

from hanse import Contract, Event, Resource, rpc
from msgspec import Meta


class Order(Resource):
    sku: str
    quantity: int = 1


class OrderPlaced(Event):
    order: Order


class Orders(Contract, Protocol, version="1.0"):
    """Takes orders."""

    @rpc
    async def place(self, sku: str, quantity: Annotated[int, Meta(ge=1)] = 1) -> Order:
        """Order something."""
        ...
