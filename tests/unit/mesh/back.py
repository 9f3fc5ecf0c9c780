"""What these tests call: services that do what a test put under a name."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

from hanse.contract.declare import Contract, rpc
from hanse.contract.guard import authenticated, scope
from hanse.contract.model import Model
from hanse.kernel.closing import closing
from hanse.kernel.context import current
from hanse.kernel.faults import (
    Fault,
)
from hanse.service.service import Service

Handler = Callable[["Back"], Awaitable[object]]


class OutOfStock(Fault, status=409):
    sku: str
    left: int


class Parcel(Model):
    weight: int


class Front(Contract, Protocol):
    @rpc
    async def ask(self, script: str) -> object: ...

    @rpc
    async def echo(self, text: str) -> str: ...


class Back(Service):
    """Does what the test put under a name."""

    front: Front

    @rpc
    async def run(self, script: str) -> object:
        return await SCRIPTS[script](self)

    @rpc(idempotent=True)
    async def again(self, script: str) -> object:
        return await SCRIPTS[script](self)

    @rpc(timeout="2s")
    async def soon(self, script: str) -> object:
        return await SCRIPTS[script](self)

    @rpc(faults=(OutOfStock,))
    async def parcel(self, weight: int, *, label: str = "") -> Parcel:
        return Parcel(weight=cast("Any", label or weight))

    @rpc
    async def watch(self, script: str) -> AsyncIterator[int]:
        async with closing(STREAMS[script](self)) as items:
            async for item in items:
                yield item

    @rpc(allow=authenticated)
    async def known(self) -> str:
        return current().identity.subject

    @rpc(allow=scope("stock:write"))
    async def write(self) -> None: ...


class FrontDoor(Service, Front):
    back: Back

    async def ask(self, script: str) -> object:
        return await self.back.run(script)

    async def echo(self, text: str) -> str:
        return text


SCRIPTS: dict[str, Handler] = {}
STREAMS: dict[str, Callable[[Back], AsyncIterator[int]]] = {}


def script(handler: Handler) -> str:
    SCRIPTS[handler.__qualname__] = handler
    return handler.__qualname__


def stream(handler: Callable[[Back], AsyncIterator[int]]) -> str:
    STREAMS[handler.__qualname__] = handler
    return handler.__qualname__
