"""A `Transport` over what goes straight from node to node: it knows who serves what, and has it carried there.

What this process serves itself is handed over in it, unless a route wants another release. All else is the sender's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import CALL, NO_HEADERS, Headers, Message
from hanse.kernel.route import Route
from hanse.mesh.choice import Chooser, is_here
from hanse.mesh.directory import Directory
from hanse.mesh.explained import Explained, explained
from hanse.mesh.fault import undone_message
from hanse.mesh.known import Known, known_instance, known_of
from hanse.mesh.routes import ANY, Way, headed
from hanse.mesh.sender import FIRST_SECONDS, Sender
from hanse.transport.base import Answer, Call, Features, Receiver, TellsTrouble, Transport, service_of
from hanse.transport.direct import Direct
from hanse.transport.discovery import Announcement, Discovery
from hanse.transport.lot import Handle, handlers_of, one_by_one


@final
class Routed:
    """Sends to who is chosen among those whom discovery told of; see `hanse.transport.base.Transport`.

    Example:
        >>> async def main(local: Transport, direct: Direct, discovery: Discovery, host: Host) -> None:
        ...     here = Announcement("shop-1", "", app="shop", release="1.4", zone="a")
        ...     routed = Routed(here, local, direct, discovery, host=host)
        ...     await routed.open()
        ...     print(routed.explain("orders.place").summary)
        ...     await routed.close()
    """

    def __init__(
        self,
        here: Announcement,
        local: Transport,
        direct: Direct,
        discovery: Discovery,
        *,
        host: Host,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        """Get ready; nothing is sent or told before `open`.

        Args:
            here: What this node says of itself; address and names are filled in.
            local: What carries messages within this process.
            direct: What carries them to other nodes.
            discovery: Tells of them.
            host: Its clock and chance.
            first_seconds: How long after it has opened somebody may be waited for who announces what is asked for; 0
                where discovery has told of all that there are by then.
        """
        self.here: Announcement = msgspec.structs.replace(here, names=())
        self.chooser: Chooser = Chooser(Directory(here.app, here.instance), zone=here.zone)
        self._local = local
        self._direct = direct
        self._discovery = discovery
        self._host = host
        self._sender = Sender(self.chooser, direct, discovery.suspect, host=host, first_seconds=first_seconds)
        self._served: dict[str, Receiver] = {}
        self._handlers: dict[str, Callable[[str], Handle]] = {}
        self._weight = here.weight
        self._home = ""
        self._opened = AsyncExitStack()
        self._announcing: asyncio.Handle | None = None

    @property
    def features(self) -> Features:
        """See `Transport.features`."""
        return self._direct.features

    @property
    def native(self) -> object:
        """What is underneath: see `Direct.native`."""
        return self._direct.native

    def route(self, routes: Mapping[str, Route], home: str = "") -> None:
        """See `TakesRoutes.route`."""
        self.chooser.routes = dict(routes)
        self._home = home
        self.chooser.changed()

    def explain(self, address: str, headers: Headers = NO_HEADERS) -> Explained:
        """Who would be asked now, and why not the others.

        Args:
            address: `service.operation`.
            headers: What the call would carry.
        """
        here = self.here if service_of(address) in self._served else None
        return explained(self.chooser, address, headers, self._host, here)

    def known(self) -> list[Known]:
        """See `KnowsStates.known`."""
        return [known_of(self.here), *map(known_instance, self.chooser.directory)]

    async def open(self) -> None:
        """See `Transport.open`."""
        async with AsyncExitStack() as opened:
            await self._local.open()
            opened.push_async_callback(self._local.close)
            await self._direct.open(self, self._sender.lost)
            opened.push_async_callback(self._direct.close)
            self._say(address=self._direct.address, weight=self._weight, names=tuple(self._served))
            self._sender.start()
            _ = opened.callback(self._sender.stop)
            await self._discovery.open(self.here, self._sender.told, self._sender.gone)
            # Goodbye comes first: so nobody begins what is cut off then.
            opened.push_async_callback(self._discovery.close)
            _ = opened.callback(self._announce_no_more)
            self._opened = opened.pop_all()

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._opened.aclose()

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        if not self._sender.open:
            return "the transport is closed"
        return self._discovery.trouble() if isinstance(self._discovery, TellsTrouble) else ""

    def drain(self) -> None:
        """Say that this node wants no more calls: others ask its like from the moment they hear it."""
        self._say(weight=0)
        if self._sender.open:
            self._discovery.announce(self.here)

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`.

        Raises:
            Conflict: Somebody else serves it in this process.
        """
        self._local.listen(service, receiver)
        self._served[service] = receiver
        self._handlers[service] = handlers_of(receiver)
        self._announce_soon()

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        if self._served.pop(service, None) is not None:
            del self._handlers[service]
            self._local.leave(service)
            self._announce_soon()

    # What others ask of this node: see `Receiver`.

    def serve(self, message: Message, /) -> Awaitable[Message]:
        """Have a message handled that another node sent."""
        receiver = self._served.get(message.address.rpartition(".")[0])  # `service_of`, on the way of every call
        return _refused(message) if receiver is None else receiver.serve(message)

    def handler(self, address: str, /) -> Handle:
        """What handles the messages of an address that another node sends: see `Handles.handler`."""
        handler = self._handlers.get(service_of(address))
        return _refuse if handler is None else handler(address)

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """Have a message answered with items that another node sent."""
        receiver = self._served.get(service_of(message.address))
        if receiver is None:
            yield _not_here(message)
            return
        async with closing(receiver.serve_stream(message)) as replies:
            async for reply in replies:
                yield reply

    # What this node asks.

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        service = message.address.rpartition(".")[0]  # `service_of`, on the way of every call
        way = ANY
        if self.chooser.routes or message.headers.release or self._home:
            way, message = self._way(service, message)
        if service in self._served and (way is ANY or self._is_here(service, way)):
            return self._local.request(message)
        return self._sender.request(service, message, way)

    def calling(self, address: str, /) -> Call:
        """See `AsksAtOnce.calling`."""
        service, chooser, served = service_of(address), self.chooser, self._served
        elsewhere = self._sender.calling(service, address)

        def call(id: str, timeout: float, headers: Headers, body: bytes) -> Awaitable[Answer]:
            if service in served or chooser.routes or headers.release or self._home or headers.attempt != 1:
                return self.request(Message(CALL, id, address, timeout, headers, body))
            return elsewhere(id, timeout, headers, body)

        return call

    def given_up(self) -> None:
        """See `AsksAtOnce.given_up`: each call hears of that by itself."""

    def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        service = service_of(message.address)
        way, message = self._way(service, message)
        if service in self._served and self._is_here(service, way):
            return self._local.stream(message)
        return self._sender.stream(service, message, way)

    def _way(self, service: str, message: Message) -> tuple[Way, Message]:
        """Where a message goes by its route, and the message that tells so to what is called for it in turn."""
        if self._home and not message.headers.release:
            message = message.with_headers(msgspec.structs.replace(message.headers, release=self._home))
        headers, here = message.headers, self.here.release if service in self._served else ""
        way = self.chooser.way(service, headers, self._host.chance.random, here)
        return way, message.with_headers(headed(headers, way)) if way.pins else message

    def _is_here(self, service: str, way: Way) -> bool:
        if way is ANY:
            return True
        other = self.chooser.choose(service, way, self._host.monotonic(), self._host.chance.random)
        return is_here(self.here, way, other)

    # What this node says of itself.

    def _announce_soon(self) -> None:
        """Say what is served: once a turn of the loop, however many come and go in it."""
        if self._sender.open and self._announcing is None:
            self._announcing = asyncio.get_running_loop().call_soon(self._announce)

    def _announce(self) -> None:
        self._announcing = None
        self._say(names=tuple(self._served))
        self._discovery.announce(self.here)

    def _announce_no_more(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
            self._announcing = None

    def _say(self, **said: object) -> None:
        self.here = msgspec.structs.replace(self.here, version=self.here.version + 1, **said)


async def _refused(message: Message) -> Message:
    return _not_here(message)


_refuse = one_by_one(_refused)


def _not_here(message: Message) -> Message:
    return undone_message(Unavailable(f"{service_of(message.address)!r} is not served here any more"), message.id)
