"""What tests of several nodes share: nodes of one network within this process, and what they serve."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.mesh.fault import fault_message
from hanse.mesh.routed import Routed
from hanse.testing.local import LocalDirect, LocalDiscovery, LocalNetwork
from hanse.transport.base import whole
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport

Behaviour = Callable[[Message], Awaitable[bytes]]


def call(
    address: str = "orders.place", *, id: str = "1", timeout: float = 10.0, headers: Headers = NO_HEADERS
) -> Message:
    return Message(Kind.CALL, id, address, timeout, headers)


class Shop:
    """A node; it answers with its name unless a test says otherwise."""

    def __init__(self, routed: Routed, direct: LocalDirect, discovery: LocalDiscovery) -> None:
        self.routed = routed
        self.direct = direct
        self.discovery = discovery
        self.at_once: bool = False
        self.came: list[Message] = []
        self.ended: list[str] = []
        self.behaviour: Behaviour = self._name

    @property
    def name(self) -> str:
        return self.routed.here.instance

    async def _name(self, _: Message) -> bytes:
        return self.name.encode()

    async def serve(self, message: Message, /) -> Message:
        self.came.append(message)
        try:
            return Message(Kind.REPLY, message.id, "", body=await self.behaviour(message))
        except Fault as fault:
            return fault_message(fault, message.id)
        finally:
            self.ended.append(message.id)

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        self.came.append(message)
        try:
            for number in range(3):
                yield Message(Kind.ITEM, message.id, "", body=f"{self.name} {number}".encode())
                await asyncio.sleep(1.0)
            yield Message(Kind.END, message.id, "")
        finally:
            self.ended.append(message.id)

    async def ask(self, message: Message | None = None) -> str:
        """Who answers, or the code of the fault that came."""
        message = message or call()
        reply = await (self._call(message) if self.at_once else self.routed.request(message))
        return reply.body.decode() if reply.kind is Kind.REPLY else reply.headers.type

    async def _call(self, message: Message) -> Message:
        """Ask as clients do."""
        ask = self.routed.calling(message.address)
        return whole(await ask(message.id, message.timeout, message.headers, message.body), message)

    def standing(self, name: str) -> str:
        return next(one.standing.state.value for one in self.routed.chooser.directory if one.name == name)


class Shops:
    """Nodes that come when they are asked for, and go at the end."""

    def __init__(self, host: Host, opened: AsyncExitStack) -> None:
        self.at_once: bool = False
        self.network = LocalNetwork()
        self._host = host
        self._opened = opened

    async def open(self, name: str, *serves: str, release: str = "", zone: str = "", weight: int = 100) -> Shop:
        here = Announcement(name, "", app="shop", release=release, zone=zone, weight=weight)
        direct, discovery = self.network.direct(name), self.network.discovery()
        routed = Routed(here, MemoryTransport(), direct, discovery, host=self._host)
        shop = Shop(routed, direct, discovery)
        shop.at_once = self.at_once
        for service in serves:
            routed.listen(service, shop)
        await routed.open()
        self._opened.push_async_callback(routed.close)
        return shop


@asynccontextmanager
async def shops_on(host: Host) -> AsyncGenerator[Shops]:
    async with AsyncExitStack() as opened:
        yield Shops(host, opened)
