"""The transport: what is served here is handed over at once, all else waits in a list until an instance takes it.

Answers are told by channel: as long as both ends are connected none is lost, and where one is not, that is noticed.
What has waited for longer than anybody waits for it is not done any more.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import cast, final

from hanse.kernel.faults import Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.resp import ReplyError
from hanse.transport.base import Backlog, Call, Features, Receiver, by_message
from hanse.transport.brokered.frames import Who
from hanse.transport.brokered.roll import NODES_MAX
from hanse.transport.brokered.station import NODE_BYTES, Station, Verbs
from hanse.transport.discovery import Announcement
from hanse.transport.redis.connection import Connection, Ears
from hanse.transport.redis.keeping import Keeping
from hanse.transport.redis.names import Names
from hanse.transport.redis.options import Options, database_in
from hanse.transport.redis.queued import queued_in

_log = logging.getLogger("hanse.transport.redis")

AGE_SECONDS = 0.005
"""What has waited for less has its time left as it was sent."""


@final
class RedisTransport:
    """Messages through Redis or Valkey; see `hanse.transport.base.Transport` for what its verbs promise.

    Example:
        >>> transport = RedisTransport("redis://127.0.0.1:6379", Host.system(), Options(app="shop"))
        >>> transport.features.balances, transport.trouble()
        (True, 'there is no connection to Redis: it was not opened')
    """

    features: Features = Features(durable=True, balances=True, bytes_max=Connection.body_bytes_max)

    def __init__(
        self, url: str, host: Host, options: Options | None = None, *, here: Announcement | None = None
    ) -> None:
        """Know where to go.

        Args:
            url: Such as `redis://127.0.0.1:6379/0`, or several with commas, of which those are used that take writes:
                `redis://user:password@a,b/0`; `rediss://` for servers under TLS.
            host: Clock, chance and names.
            options: The app's name, who asks, and how servers are verified.
            here: What the node says of itself to whoever asks which nodes there are; by default no more than a name.

        Raises:
            Misconfigured: The URL is none of Redis.
        """
        options = options or Options()
        self.names: Names = Names(options.app, host.entropy(NODE_BYTES).hex(), database_in(url))
        ears = Ears(self._lost, self._back, self._told, self._gone, self._took, self._refused)
        self._connection = Connection(url, self.names, options, host, ears)
        verbs = Verbs(self._connection.call, self._serve, self._leave)
        self._station = Station(self._connection, verbs, self.names, host, options, here)
        self._keeping = Keeping(self._connection, self.names, host, options)

    @property
    def native(self) -> Connection:
        """The connection underneath: its `native.ask` sends any command; nothing is hidden."""
        return self._connection

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return self._connection.trouble or self._keeping.trouble

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

    async def publish(self, messages: Sequence[Message], /) -> None:
        """See `Keeps.publish`.

        Raises:
            Unavailable: Nobody knows whether all are kept.
            TooLarge: One of them is.
            Misconfigured: The server may not be trusted with events: it has no append-only file, or throws keys away.
        """
        await self._keeping.publish(messages)

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        """See `Keeps.subscribe`. Raises `Unavailable` or `Misconfigured`."""
        return await self._keeping.subscribe(group, topics)

    async def nodes(self) -> list[Announcement]:
        """See `KnowsNodes.nodes`: the server knows their channels, and each is asked by its own."""
        return await self._station.roll.call(self._ask_all)

    async def _ask_all(self) -> bool:
        wire = self._connection.native
        if wire is None:
            return False
        try:
            channels = cast("list[bytes]", await wire.ask(b"PUBSUB", b"CHANNELS", self.names.everybody))
        except (ConnectionError, ReplyError) as error:
            raise Unavailable(f"Redis does not tell which nodes there are: {error}") from None
        for channel in channels[:NODES_MAX]:
            peer = channel.rpartition(b".")[2]
            if peer != self.names.node:
                self._station.pulse.say(peer, Who(self.names.node))
        return True

    # What Redis has words of its own for.

    def _serve(self, service: str) -> None:
        self._connection.serve(self.names.service(service))

    def _leave(self, service: str) -> None:
        self._connection.leave(self.names.service(service))

    # What comes.

    def _told(self, data: bytes) -> None:
        end = data.find(b" ")
        self._station.calls.told(data[:end], data[end + 1 :])

    def _took(self, key: bytes, raw: bytes, now: float) -> None:
        try:
            queued = queued_in(raw, now)
        except Malformed as fault:
            _log.warning("a request in %s was left: %s", key.decode(errors="replace"), fault.detail)
            return
        if queued.age < queued.wait:
            age = queued.age if queued.age > AGE_SECONDS else 0.0
            self._station.served.take(key, queued.reply, queued.payload, b"", age)

    def _refused(self, token: bytes, fault: Exception) -> None:
        self._station.calls.refused(token, fault)

    def _gone(self, reply: bytes) -> None:
        self._station.nobody(reply[len(self.names.here) :])

    def _lost(self, why: str) -> None:
        _ = self._station.lost(why)
        self._keeping.lost(why)

    def _back(self) -> None:
        self._keeping.back()
