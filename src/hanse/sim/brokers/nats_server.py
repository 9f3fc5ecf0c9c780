"""A NATS server for worlds: the core protocol as our adapter uses it, with what NATS is documented to do to messages.

- At most once: what is under way to somebody whose connection breaks is lost, and all that is under way when the server
  is killed.
- Whoever reads too slowly is cut off: when too much waits for them, or when nothing of it moves for ten seconds.
- Whoever does not answer pings is cut off as stale.
- A request where nobody listens is answered at once, by 503 without a body.

It is written for asyncio alone, so it serves real sockets as well as simulated ones; that is how it is held against a
real server. Who does not want to be surprised by what it leaves out: no clusters, no accounts, no TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast, final

import msgspec

from hanse.sim.brokers.nats_jetstream import JetStream
from hanse.sim.brokers.nats_parse import (
    PAYLOAD_BYTES_MAX,
    Connect,
    Parser,
    Ping,
    Pong,
    Publish,
    Refusal,
    Subscribe,
    Unsubscribe,
    Wish,
)
from hanse.sim.brokers.nats_streams import Storage
from hanse.sim.brokers.nats_subjects import Interest, is_subject
from hanse.sim.chance import Draws

PORT: Final = 4222
VERSION: Final = "2.12.0"
"""The version whose words it speaks."""

NOBODY: Final = b"NATS/1.0 503\r\nNats-Subject: %b\r\n\r\n"
"""Headers of what a request is answered with where nobody listens."""


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """What a server does with clients that do not keep up; its defaults are those of NATS.

    Attributes:
        payload_bytes_max: Of one message with its headers.
        pending_bytes_max: What waits for one client at most; then it is cut off.
        write_seconds: How long what waits for a client may stand still; then it is cut off.
        ping_seconds: Between pings of the server.
        pings_max: Pings that may be unanswered; at the next a client is stale.
    """

    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    pending_bytes_max: int = 64 * 1024 * 1024
    write_seconds: float = 10.0
    ping_seconds: float = 120.0
    pings_max: int = 2


MANNERS = Manners()


class _Subscription(msgspec.Struct, eq=False):
    client: _Client
    subject: bytes
    group: bytes
    id: bytes
    most: int = 0
    given: int = 0


@final
class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: NatsServer, number: int) -> None:
        self.number = number
        self.connect: Connect = Connect()
        self.subscriptions: dict[bytes, _Subscription] = {}
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(server.manners.payload_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._pings = 0
        self._pinging: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.clients[self] = None
        self.say(b"INFO " + msgspec.json.encode(self._server.info(self.number)) + b"\r\n")
        self._pinging = self._loop.call_later(self._server.manners.ping_seconds, self._ping)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        for timer in (self._pinging, self._stuck):
            if timer is not None:
                timer.cancel()
        for subscription in list(self.subscriptions.values()):
            self.end(subscription)
        self._server.clients.pop(self, None)

    def data_received(self, data: bytes) -> None:
        try:
            for wish in self._parser.feed(data):
                self._grant(wish)
        except Refusal as refusal:
            self.refuse(str(refusal))

    def pause_writing(self) -> None:
        self._stuck = self._loop.call_later(self._server.manners.write_seconds, self.cut)

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    # What the server does with it.

    def say(self, *parts: bytes) -> None:
        """Say something, with all else that is said in this turn."""
        if self._transport is None:
            return
        if not self._out:
            _ = self._loop.call_soon(self._flush)
        self._out += parts

    def give(self, subscription: _Subscription, message: Publish) -> None:
        """Give it a message that it subscribes to."""
        subscription.given += 1
        if subscription.most and subscription.given >= subscription.most:
            self.end(subscription)
        head = b"%b %b %b" % (message.subject, subscription.id, message.reply + b" " if message.reply else b"")
        size = len(message.headers) + len(message.payload)
        if message.headers and self.connect.headers:
            line = b"HMSG %b%d %d\r\n" % (head, len(message.headers), size)
            self.say(line, message.headers, message.payload, b"\r\n")
        else:
            self.say(b"MSG %b%d\r\n" % (head, len(message.payload)), message.payload, b"\r\n")

    def end(self, subscription: _Subscription) -> None:
        """It wants no more of this."""
        _ = self.subscriptions.pop(subscription.id, None)
        self._server.interest.remove(subscription)

    def refuse(self, why: str) -> None:
        """Say why, and close."""
        self.say(b"-ERR '%b'\r\n" % why.encode())
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """Close at once: it is too slow to be told why."""
        if self._transport is not None:
            self._server.slow += 1
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
            if self._transport.get_write_buffer_size() > self._server.manners.pending_bytes_max:
                self.cut()
        self._out.clear()

    def _ping(self) -> None:
        if self._pings >= self._server.manners.pings_max:
            self.refuse("Stale Connection")
            return
        self._pings += 1
        self.say(b"PING\r\n")
        self._pinging = self._loop.call_later(self._server.manners.ping_seconds, self._ping)

    def _grant(self, wish: Wish) -> None:
        match wish:
            case Publish():
                self._confirm()
                self._server.publish(wish, self)
            case Ping():
                self.say(b"PONG\r\n")
            case Pong():
                self._pings = 0
            case Subscribe():
                self._subscribe(wish)
            case Unsubscribe():
                self._unsubscribe(wish)
            case Connect():
                self.connect = wish
                self._confirm()

    def _confirm(self) -> None:
        if self.connect.verbose:
            self.say(b"+OK\r\n")

    def _subscribe(self, wish: Subscribe) -> None:
        if not is_subject(wish.subject, wild=True):
            self.say(b"-ERR 'Invalid Subject'\r\n")
            return
        if wish.id not in self.subscriptions:
            made = self.subscriptions[wish.id] = _Subscription(self, wish.subject, wish.group, wish.id)
            self._server.interest.add(made)
        self._confirm()

    def _unsubscribe(self, wish: Unsubscribe) -> None:
        if (found := self.subscriptions.get(wish.id)) is not None:
            found.most = wish.most
            if found.given >= wish.most:
                self.end(found)
        self._confirm()


@final
class NatsServer:
    """One life of a server.

    Attributes:
        name: Of the server.
        manners: What it does with clients that do not keep up.
        clients: Connections.
        interest: What they subscribe to.
        slow: How many were cut off as too slow.
        storage: The streams on its disk; None where it has no JetStream.
    """

    def __init__(
        self,
        name: str,
        seed: int = 0,
        life: int = 1,
        manners: Manners = MANNERS,
        *,
        storage: Storage | None = None,
        clock: Callable[[], float] = float,
    ) -> None:
        """Serve nobody yet.

        Args:
            name: Of the server.
            seed: Decides who of a group is given a message.
            life: Counts the lives of its machine.
            manners: What it does with clients that do not keep up.
            storage: The streams on its disk; None where it has no JetStream.
            clock: Its wall clock.
        """
        self.name: str = name
        self.manners: Manners = manners
        self.clients: dict[_Client, None] = {}
        self.interest: Interest[_Subscription] = Interest()
        self.slow: int = 0
        self._life = life
        self._draws = Draws(seed, "nats", name, life)
        self._count = 0
        self._leaving = False
        self.storage: Storage | None = storage
        self._jetstream: JetStream | None = None if storage is None else JetStream(storage, self._give, clock)
        self._server: asyncio.AbstractServer | None = None

    @property
    def idle(self) -> bool:
        """See `hanse.sim.carried.Broker.idle`: what it has, it has passed on."""
        return True

    async def serve(self, host: str | None = None, port: int = PORT) -> asyncio.AbstractServer:
        """Begin to listen."""
        self._server = await asyncio.get_running_loop().create_server(self._made, host, port)
        return self._server

    def leave(self) -> None:
        """Be a lame duck: take no more clients, and tell those that there are to go elsewhere."""
        self._leaving = True
        if self._server is not None:
            self._server.close()
        for client in self.clients:
            client.say(b"INFO " + msgspec.json.encode(self.info(client.number)) + b"\r\n")

    def info(self, number: int) -> dict[str, object]:
        """What it says of itself to a client."""
        said: dict[str, object] = {
            "server_id": f"{self.name}-{self._life}",
            "server_name": self.name,
            "version": VERSION,
            "proto": 1,
            "headers": True,
            "max_payload": self.manners.payload_bytes_max,
            "client_id": number,
        }
        return said | ({"ldm": True} if self._leaving else {})

    def publish(self, message: Publish, client: _Client) -> None:
        """Give a message to whoever wants it.

        Raises:
            Refusal: Its subject is none.
        """
        if not is_subject(message.subject):
            client.say(b"-ERR 'Invalid Publish Subject'\r\n")
            return
        hearers = self.interest.hearers(message.subject, self._draws.draw)
        if not client.connect.echo:
            hearers = [hearer for hearer in hearers if hearer.client is not client]
        for hearer in hearers:
            hearer.client.give(hearer, message)
        taken = self._jetstream is not None and self._jetstream.take(message)
        if not hearers and not taken and message.reply and client.connect.no_responders and client.connect.headers:
            nobody = Publish(message.reply, b"", NOBODY % message.subject, b"")
            for hearer in self.interest.hearers(message.reply, self._draws.draw):
                if hearer.client is client:
                    client.give(hearer, nobody)

    def _give(self, subject: bytes, message: Publish) -> None:
        """Give what the server says by itself to whoever listens to a subject."""
        for hearer in self.interest.hearers(subject, self._draws.draw):
            hearer.client.give(hearer, message)

    def _made(self) -> _Client:
        self._count += 1
        return _Client(self, self._count)
