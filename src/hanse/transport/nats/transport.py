"""The transport: what is served here is handed over at once, all else goes through NATS, which balances by itself.

Instances of a service are one queue group. Where nobody listens, the server says so at once. A node that drains leaves
the groups that others are in, and one that leaves refuses what is still under way to it, and its callers ask again: so
a rolling restart fails no request, and a lone instance serves until it stops.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import final

from hanse.kernel.closing import closing
from hanse.kernel.faults import Conflict, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.transport.base import Backlog, Features, Receiver, service_of
from hanse.transport.brokered.calls import Calls
from hanse.transport.brokered.frames import (
    ASK,
    Cancel,
    NotTakenError,
)
from hanse.transport.brokered.pulse import NOBODY, Pulse
from hanse.transport.brokered.roll import Roll
from hanse.transport.brokered.servers import servers_in
from hanse.transport.described import DescribedService
from hanse.transport.discovery import Announcement
from hanse.transport.nats.connection import Connection, Subscription
from hanse.transport.nats.kept import Keeper
from hanse.transport.nats.login import SCHEME, Options, options_in
from hanse.transport.nats.names import GROUP, Names
from hanse.transport.nats.parse import status_of
from hanse.transport.nats.services import Services

NODE_BYTES = 8
"""Of chance in a node's name, so that nobody can listen to its answers who is not allowed to list subjects."""


@final
class NatsTransport:
    """Messages through NATS; see `hanse.transport.base.Transport` for what its verbs promise.

    Example:
        >>> transport = NatsTransport("nats://127.0.0.1:4222", Host.system(), Options(app="shop"))
        >>> transport.features.balances, transport.trouble()
        (True, 'there is no connection to NATS: it was not opened')
    """

    def __init__(
        self, url: str, host: Host, options: Options | None = None, *, here: Announcement | None = None
    ) -> None:
        """Know where to go.

        Args:
            url: Such as `nats://127.0.0.1:4222`, or several with commas: `nats://user:password@a,b,c`; `tls://` for
                servers under TLS; with what is to be kept of events behind a question mark: see `options_in`.
            host: Clock, chance and names.
            options: The app's name, who asks, and how servers are verified.
            here: What the node says of itself to whoever asks which nodes there are; by default no more than a name.

        Raises:
            Misconfigured: The URL is none of NATS.
        """
        options = options_in(url, options or Options())
        self.names: Names = Names(options.app, host.entropy(NODE_BYTES).hex())
        self._connection = Connection(servers_in(url, SCHEME), options, host, lost=self._lost)
        self._pulse = Pulse(self._connection, self.names, host, options.silence)
        self._asked, self._served = self._pulse.asked, self._pulse.served
        self._calls = Calls(self._connection, self._send, self._pulse, host, f"the app {options.app!r} on this NATS")
        self._here_length = len(self.names.here)
        here = here or Announcement(self.names.node.decode(), "", app=options.app, since=host.now())
        self._roll = Roll(here, self.names.node, self._pulse, self._leave)
        self._pulse.here = self._roll.told
        self._keeper = Keeper(self._connection, self.names, options, host)
        self._services = Services(self._connection, self.names, host, self._served)
        self._subscriptions: dict[str, Subscription] = {}
        self._inbox: Subscription | None = None
        self._hellos: Subscription | None = None

    @property
    def features(self) -> Features:
        """See `Transport.features`; how large a message may be is the server's to say."""
        return Features(durable=True, balances=True, bytes_max=self._connection.body_bytes_max)

    @property
    def native(self) -> Connection:
        """The connection underneath: `publish` and `subscribe` to any subject; nothing is hidden."""
        return self._connection

    async def open(self) -> None:
        """See `Transport.open`. Raises `CouldNotStart`."""
        if self._inbox is None:
            self._inbox = self._connection.subscribe(self.names.here + b"*", self._told)
            _ = self._connection.subscribe(self.names.who, self._who)
        await self._connection.open()
        self._calls.open = self._served.open = True
        self._keeper.begin()

    async def close(self) -> None:
        """See `Transport.close`."""
        if not self._calls.open:
            return
        self._calls.open = self._served.open = False
        if self._hellos is not None:
            self._connection.unsubscribe(self._hellos)
            self._hellos, self._roll.draining = None, False
        await self._keeper.end()
        self._asked.fail(Unavailable("the transport is closed"))
        for peer, tokens in self._asked.by_peer().items():
            self._pulse.say(peer, Cancel(self.names.node, tokens))
        await self._served.end()
        self._pulse.close()
        await self._connection.close()

    async def flush(self) -> None:
        """Wait until the server knows all that was said before, such as what is served here.

        Raises:
            Unavailable: It went away.
        """
        try:
            await self._connection.flush()
        except ConnectionError as error:
            raise Unavailable(f"NATS went away: {error}") from None

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return self._connection.trouble or self._keeper.trouble

    async def publish(self, messages: Sequence[Message], /) -> None:
        """See `Keeps.publish`: tried again for half a minute before it is given up."""
        await self._keeper.publish(messages)

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        """See `Keeps.subscribe`."""
        return await self._keeper.subscribe(group, topics)

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`.

        Raises:
            Conflict: Something else serves it here; one process has one instance of a service.
        """
        if self._served.receivers.setdefault(service, receiver) is not receiver:
            raise Conflict(f"another node of this process serves {service!r} already")
        if service not in self._subscriptions:
            subject = self.names.service(service)
            self._subscriptions[service] = self._connection.subscribe(subject, self._served.take, GROUP)
            self._services.listen(service)
            self._roll.serve(service)
            _ = self._connection.publish(self.names.hello, b"", service.encode(), self.names.node + b" ")

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self._served.receivers.pop(service, None)
        self._leave(service)

    def _leave(self, service: str) -> None:
        """Have NATS give this node nothing more of it; what is under way, and its own, is still served."""
        self._roll.leave(service)
        if (subscription := self._subscriptions.pop(service, None)) is not None:
            self._connection.unsubscribe(subscription)
            self._services.leave(service)

    def drain(self) -> None:
        """See `Drains.drain`: what others serve, now or before this node stops, NATS gives to them."""
        if self._roll.draining or not self._calls.open:
            return
        self._roll.draining = True
        self._hellos = self._connection.subscribe(self.names.hello, self._hello)
        _ = self._ask_who()

    async def nodes(self) -> list[Announcement]:
        """See `KnowsNodes.nodes`."""
        return await self._roll.call(self._ask_all)

    def describe(self, service: DescribedService, /) -> None:
        """See `TellsOthers.describe`: NATS's own tools list the service, and call it with JSON."""
        self._services.describe(service)

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        receiver = self._served.receivers.get(service_of(message.address))
        if receiver is None or not self._calls.open:
            return self._calls.ask(message)
        return receiver.serve(message)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        receiver = self._served.receivers.get(service_of(message.address))
        local = receiver is not None and self._calls.open
        items = receiver.serve_stream(message) if receiver is not None and local else self._calls.read(message)
        async with closing(items) as replies:
            async for reply in replies:
                yield reply

    def _send(self, address: str, token: bytes, payload: bytes) -> bool:
        return self._connection.publish(self.names.call(address), self.names.here + token, payload, ASK)

    def _told(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """An answer, or what else others or the server tell this node."""
        del reply
        token = subject[self._here_length :]
        if payload or status_of(headers) != "503":
            self._calls.told(token, payload)
        elif token.startswith(NOBODY):
            self._pulse.gone(token[len(NOBODY) :], "is not connected to NATS any more")
        else:
            self._calls.refused(token, NotTakenError())

    async def _ask_all(self) -> bool:
        return self._connection.is_up and self._ask_who()

    def _ask_who(self) -> bool:
        return self._connection.publish(self.names.who, b"", self.names.node)

    def _who(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        del subject, reply, headers
        self._roll.asked(payload)

    def _hello(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """Somebody serves something from now on."""
        del subject, reply, headers
        node, _, service = payload.partition(b" ")
        if node != self.names.node:
            self._roll.others((service.decode(errors="replace"),))

    def _lost(self, why: str) -> None:
        self._keeper.lost(f"the connection to NATS broke: {why}")
        self._calls.lost(f"the connection to NATS broke: {why}")
