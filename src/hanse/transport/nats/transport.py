"""The transport: what is served here is handed over at once, all else goes through NATS, which balances by itself.

Instances of a service are one queue group. Where nobody listens, the server says so at once. A node that drains leaves
the groups that others are in, and one that leaves refuses what is still under way to it, and its callers ask again: so
a rolling restart fails no request, and a lone instance serves until it stops.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import final

from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.transport.base import Backlog, Call, Features, Receiver, by_message
from hanse.transport.brokered.servers import servers_in
from hanse.transport.brokered.station import NODE_BYTES, Station, Verbs
from hanse.transport.described import DescribedService
from hanse.transport.discovery import Announcement
from hanse.transport.nats.connection import Connection, Subscription
from hanse.transport.nats.kept import Keeper
from hanse.transport.nats.login import SCHEME, Options, options_in
from hanse.transport.nats.names import GROUP, KNOWN_MAX, Names
from hanse.transport.nats.parse import status_of
from hanse.transport.nats.services import Services


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
        verbs = Verbs(self._call, self._serve, self._leave)
        self._station = Station(self._connection, verbs, self.names, host, options, here)
        self._here_length = len(self.names.here)
        self._starts: dict[str, bytes] = {}
        self._keeper = Keeper(self._connection, self.names, options, host)
        self._services = Services(self._connection, self.names, host, self._station.served)
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
        self._station.open()
        self._keeper.begin()

    async def close(self) -> None:
        """See `Transport.close`."""
        if not self._station.close():
            return
        if self._hellos is not None:
            self._connection.unsubscribe(self._hellos)
            self._hellos = None
        await self._keeper.end()
        await self._station.end()
        await self._connection.close()

    async def flush(self) -> None:
        """Wait until the server knows all that was said before, such as what is served here.

        Raises:
            Unavailable: It went away.
        """
        await self._station.flush()

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
        self._station.listen(service, receiver)

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self._station.leave(service)

    def drain(self) -> None:
        """See `Drains.drain`: what others serve, now or before this node stops, NATS gives to them."""
        if self._station.drain():
            self._hellos = self._connection.subscribe(self.names.hello, self._hello)
            _ = self._ask_who()

    async def nodes(self) -> list[Announcement]:
        """See `KnowsNodes.nodes`."""
        return await self._station.roll.call(self._ask_all)

    def describe(self, service: DescribedService, /) -> None:
        """See `TellsOthers.describe`: NATS's own tools list the service, and call it with JSON."""
        self._services.describe(service)

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        return self._station.request(message)

    def calling(self, address: str, /) -> Call:
        """See `AsksAtOnce.calling`."""
        return by_message(self._station.calls.ask, address)

    def given_up(self) -> None:
        """See `AsksAtOnce.given_up`."""
        self._station.calls.given_up()

    def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        return self._station.stream(message)

    # What NATS has words of its own for.

    def _call(self, address: str, token: bytes, head: bytes, rest: bytes) -> bool:
        start = self._starts.get(address) or self._start(address)
        return self._connection.put(start, token, head, rest)

    def _start(self, address: str) -> bytes:
        """How it begins what is said to an address; a token follows. Raises `UnknownOperation`."""
        subject = self.names.call(address)
        if len(self._starts) >= KNOWN_MAX:
            self._starts.clear()
        start = self._starts[address] = b"PUB %b %b" % (subject, self.names.here)
        return start

    def _serve(self, service: str) -> None:
        if service not in self._subscriptions:
            subject = self.names.service(service)
            self._subscriptions[service] = self._connection.subscribe(subject, self._station.served.take, GROUP)
            self._services.listen(service)
            _ = self._connection.publish(self.names.hello, b"", service.encode(), self.names.node + b" ")

    def _leave(self, service: str) -> None:
        if (subscription := self._subscriptions.pop(service, None)) is not None:
            self._connection.unsubscribe(subscription)
            self._services.leave(service)

    # What comes.

    def _told(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """An answer, or what else others or the server tell this node."""
        del reply
        token = subject[self._here_length :]
        if payload or status_of(headers) != "503":
            self._station.calls.told(token, payload)
        else:
            self._station.nobody(token)

    async def _ask_all(self) -> bool:
        return self._connection.is_up and self._ask_who()

    def _ask_who(self) -> bool:
        return self._connection.publish(self.names.who, b"", self.names.node)

    def _who(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        del subject, reply, headers
        self._station.roll.asked(payload)

    def _hello(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """Somebody serves something from now on."""
        del subject, reply, headers
        node, _, service = payload.partition(b" ")
        if node != self.names.node:
            self._station.roll.others((service.decode(errors="replace"),))

    def _lost(self, why: str) -> None:
        self._keeper.lost(self._station.lost(why))
