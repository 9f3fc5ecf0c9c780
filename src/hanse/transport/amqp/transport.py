"""The transport: what is served here is handed over at once, all else waits in a queue until an instance takes it.

Where no instance is there, there is no queue either, and the server hands back what was asked. What has waited for
longer than anybody waits for it is not handed out any more. A request tells its time left as of when it was sent: how
long it has waited since only the server knows, and it does not say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import final

from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.transport.amqp.connection import Connection, Ears
from hanse.transport.amqp.frames import properties_in
from hanse.transport.amqp.keeping import Keeping
from hanse.transport.amqp.names import Names
from hanse.transport.amqp.options import Options
from hanse.transport.base import Backlog, Call, Features, Receiver, by_message
from hanse.transport.brokered.frames import (
    CONTROL,
    Control,
    Here,
    Refusal,
    Who,
    encode,
)
from hanse.transport.brokered.pulse import CONTROL_TOKEN
from hanse.transport.brokered.station import NODE_BYTES, Station, Verbs
from hanse.transport.discovery import Announcement

_AGAIN = Refusal("closing", "whoever took the request has gone, and may have begun it")


@final
class AmqpTransport:
    """Messages through RabbitMQ; see `hanse.transport.base.Transport` for what its verbs promise.

    Example:
        >>> transport = AmqpTransport("amqp://127.0.0.1:5672", Host.system(), Options(app="shop"))
        >>> transport.features.balances, transport.trouble()
        (True, 'there is no connection to RabbitMQ: it was not opened')
    """

    features: Features = Features(durable=True, balances=True, bytes_max=Connection.body_bytes_max)

    def __init__(
        self, url: str, host: Host, options: Options | None = None, *, here: Announcement | None = None
    ) -> None:
        """Know where to go.

        Args:
            url: Such as `amqp://user:password@127.0.0.1:5672/world`, or several servers with commas:
                `amqp://a,b,c/world`; `amqps://` for servers under TLS. Without a virtual host it is `/`.
            host: Clock, chance and names.
            options: The app's name, who asks, and how servers are verified.
            here: What the node says of itself to whoever asks which nodes there are; by default no more than a name.

        Raises:
            Misconfigured: The URL is none of RabbitMQ.
        """
        options = options or Options()
        self.names: Names = Names(options.app, host.entropy(NODE_BYTES).hex())
        ears = Ears(self._lost, self._told, self._took, self._returned)
        self._connection = Connection(url, self.names, options, host, ears)
        self._keeping = Keeping(self._connection, self.names, host)
        verbs = Verbs(self._connection.call, self._serve, self._leave)
        self._station = Station(self._connection, verbs, self.names, host, options, here)

    @property
    def native(self) -> Connection:
        """The connection underneath: its `native.out.channel` opens a channel for any method; nothing is hidden."""
        return self._connection

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return self._connection.trouble or self._keeping.trouble

    async def publish(self, messages: Sequence[Message], /) -> None:
        """See `Keeps.publish`."""
        await self._keeping.publish(messages)

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        """See `Keeps.subscribe`: events are kept for seven days; of 5,000 the ids are known when a turn begins."""
        return await self._keeping.subscribe(group, topics)

    async def open(self) -> None:
        """See `Transport.open`. Raises `CouldNotStart`."""
        await self._connection.open()
        self._station.open()

    async def close(self) -> None:
        """See `Transport.close`."""
        if not self._station.close():
            return
        await self._station.end()
        await self._keeping.close()
        await self._connection.close()

    async def flush(self) -> None:
        """Wait until the server knows all that was said before, such as what is served here.

        Raises:
            Unavailable: It went away.
        """
        await self._station.flush()

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`.

        Raises:
            Conflict: Somebody else serves it here; one process has one instance of a service.
        """
        self._station.listen(service, receiver)

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self._station.leave(service)

    def drain(self) -> None:
        """See `Drains.drain`: what others serve, now or before this node stops, RabbitMQ gives to them."""
        if self._station.drain():
            _ = self._tell_all(Who(self.names.node))

    async def nodes(self) -> list[Announcement]:
        """See `KnowsNodes.nodes`."""
        return await self._station.roll.call(self._ask_all)

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

    async def _ask_all(self) -> bool:
        return self._tell_all(Who(self.names.node))

    def _tell_all(self, what: Control) -> bool:
        return self._connection.tell_all(CONTROL_TOKEN, CONTROL + encode(what))

    # What RabbitMQ has words of its own for.

    def _serve(self, service: str) -> None:
        self._connection.serve(self.names.service(service))
        # Who drains and serves the same leaves it to this one.
        _ = self._tell_all(Here(self.names.node, self._station.roll.here))

    def _leave(self, service: str) -> None:
        self._connection.leave(self.names.service(service))

    # What comes.

    def _told(self, properties: bytes, body: bytes) -> None:
        self._station.calls.told(properties_in(properties).correlation, body)

    def _took(self, key: bytes, properties: bytes, body: bytes, again: bool) -> None:  # noqa: FBT001 - as it comes
        reply = properties_in(properties).reply
        if not again:
            self._station.served.take(key, reply, body, b"")
        elif reply:
            self._station.served.refuse(reply, _AGAIN)

    def _returned(self, properties: bytes, body: bytes) -> None:
        del body
        self._station.nobody(properties_in(properties).reply[len(self.names.here) :])

    def _lost(self, why: str) -> None:
        _ = self._station.lost(why)
