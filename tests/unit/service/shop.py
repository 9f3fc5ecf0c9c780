"""The shop of these tests."""

from collections.abc import Awaitable, Callable
from decimal import Decimal

import msgspec

from hanse.contract.declare import rpc
from hanse.contract.model import Event, Model, Resource
from hanse.service.collection import Collection
from hanse.service.service import Service


class Size(Model):
    width: int = 1
    height: int = 1


class Order(Resource):
    sku: str
    amount: Decimal = Decimal(0)
    status: str = "new"
    note: str | None = "none"
    tags: tuple[str, ...] = ()
    size: Size = Size()
    labels: dict[int, str] = msgspec.field(default_factory=dict[int, str])
    shelf_mark: str = msgspec.field(name="shelfMark", default="")


class Placed(Event):
    sku: str


class Shop(Service):
    orders: Collection[Order]

    @rpc
    async def run(self, script: str) -> object:
        """Do, in one unit of work, what the test put under this name."""
        return await SCRIPTS[script](self)


SCRIPTS: dict[str, Callable[[Shop], Awaitable[object]]] = {}
