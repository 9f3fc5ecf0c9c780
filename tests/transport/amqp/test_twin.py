"""The twin of RabbitMQ for worlds says what a real server says, word for word, to clients that speak by hand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from pamqp import base, body, commands, frame, header
from pamqp.common import FieldValue

from hanse.sim.brokers.amqp_queues import Storage
from hanse.sim.brokers.amqp_server import AmqpServer
from hanse.transport.amqp.frames import GREETING
from hanse.transport.amqp.reached import LAST

from .server import Server

ANSWER_SECONDS = 60.0
TOLD = ("consumer_tag", "message_count", "consumer_count", "delivery_tag", "redelivered", "reply_code", "reply_text")
Queue, Basic, Channel, Connection = commands.Queue, commands.Basic, commands.Channel, commands.Connection

CAN: dict[str, FieldValue] = {"consumer_cancel_notify": True, "authentication_failure_close": True, "basic.nack": True}
Said = base.Frame | tuple[base.Frame, bytes, "dict[str, object]"]
Step = tuple[int, Sequence[tuple[int, Said]], int]
"""Which client says what on which channels, and how many methods it hears by that."""

OPEN = [(1, Channel.Open())]
STREAM: dict[str, FieldValue] = {"x-queue-type": "stream"}
QUORUM: dict[str, FieldValue] = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 1000}

_names = map("twin-%d".__mod__, itertools.count(1))


def put(text: bytes, *, key: str = "Q", exchange: str = "", mandatory: bool = False, **properties: object) -> Said:
    return Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory), text, properties


def on(channel: int, *said: Said) -> list[tuple[int, Said]]:
    return [(channel, one) for one in said]


TALKS: dict[str, Sequence[Step]] = {
    "what is put into a queue is handed out": [
        (0, OPEN, 1),
        (0, on(1, Queue.Declare(queue="Q"), put(b"a"), put(b""), Basic.Consume(queue="Q", consumer_tag="t")), 4),
        (0, on(1, Basic.Ack(2, multiple=True), Queue.Declare(queue="Q", passive=True)), 1),
    ],
    "what no queue has comes back before it is confirmed": [
        (0, on(1, Channel.Open(), commands.Confirm.Select()), 2),
        (0, on(1, put(b"a", key="none", mandatory=True)), 2),
        (0, on(1, put(b"a", key="none")), 1),
    ],
    "there are no such queues": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="none", passive=True)), 2),
        (0, on(1, Channel.CloseOk(), Channel.Open(), Basic.Consume(queue="none")), 2),
        (0, on(1, Channel.CloseOk(), Channel.Open(), put(b"a", exchange="none")), 2),
    ],
    "a queue is there already": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", exclusive=True, arguments={"x-expires": 9_000})), 2),
        (0, on(1, Queue.Declare(queue="Q", exclusive=True, auto_delete=True, arguments={"x-expires": 9_000})), 1),
        (0, on(1, Channel.CloseOk(), Channel.Open(), Queue.Declare(queue="Q", exclusive=True)), 2),
        (1, on(1, Channel.Open(), Queue.Declare(queue="Q", passive=True)), 2),
    ],
    "who takes what was not acknowledged is told so": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q"), put(b"a"), put(b"b"), Basic.Qos(prefetch_count=1)), 3),
        (0, on(1, Basic.Consume(queue="Q", consumer_tag="t")), 2),
        (0, on(1, Channel.Close(200, "", 0, 0)), 1),
        (1, on(1, Channel.Open(), Basic.Consume(queue="Q", consumer_tag="u")), 4),
        (1, on(1, Basic.Nack(1, multiple=True, requeue=True)), 1),
        (1, on(1, Basic.Reject(2, requeue=False), Basic.Qos(prefetch_count=2)), 1),
    ],
    "a queue goes with the last who takes from it": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", auto_delete=True)), 2),
        (0, on(1, Basic.Consume(queue="Q", consumer_tag="t")), 1),
        (0, on(1, Basic.Cancel("t")), 1),
        (0, on(1, Queue.Declare(queue="Q", passive=True)), 1),
    ],
    "who takes from a queue is told that it is deleted": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q"), Basic.Consume(queue="Q", consumer_tag="t")), 3),
        (1, on(1, Channel.Open(), Queue.Delete(queue="Q")), 2),
        (0, [], 1),
    ],
    "all who are bound hear what is told to all": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", exclusive=True)), 2),
        (0, on(1, commands.Exchange.Declare(exchange="Q.all", exchange_type="fanout", auto_delete=True)), 1),
        (0, on(1, Queue.Bind(queue="Q", exchange="Q.all"), Basic.Consume(queue="Q", no_ack=True, consumer_tag="t")), 2),
        (0, on(1, put(b"a", key="", exchange="Q.all", correlation_id="7")), 1),
        (0, on(1, commands.Exchange.Declare(exchange="Q.all", exchange_type="direct", auto_delete=True)), 1),
    ],
    "what has waited for too long is not handed out": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q"), put(b"a", expiration="0"), put(b"b")), 2),
        (0, on(1, Basic.Consume(queue="Q", consumer_tag="t")), 2),
    ],
    "a stream keeps what was read": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", durable=True, arguments=STREAM)), 2),
        (0, on(1, commands.Confirm.Select()), 1),
        (0, on(1, put(b"a", delivery_mode=2)), 1),
        (0, on(1, put(b"b", delivery_mode=2, headers={"h": "x"})), 1),
        (0, on(2, Channel.Open(), Basic.Qos(prefetch_count=9)), 2),
        (0, on(2, Basic.Consume(queue="Q", consumer_tag="all", arguments={"x-stream-offset": "first"})), 3),
        (0, on(2, Basic.Consume(queue="Q", consumer_tag="one", arguments={"x-stream-offset": 1})), 2),
        (0, on(3, Channel.Open(), Basic.Consume(queue="Q", consumer_tag="t")), 2),
    ],
    "one takes from a queue at a time, and then the next": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", durable=True, arguments=QUORUM)), 2),
        (0, on(1, put(b"a", delivery_mode=2), Basic.Qos(prefetch_count=9)), 1),
        (0, on(1, Basic.Consume(queue="Q", consumer_tag="t")), 2),
        (1, on(1, Channel.Open(), Basic.Qos(prefetch_count=9), Basic.Consume(queue="Q", consumer_tag="u")), 3),
        (0, on(1, Channel.Close(200, "", 0, 0)), 1),
        (1, [], 1),
        (1, on(1, Basic.Ack(1), Basic.Qos(prefetch_count=8)), 1),
    ],
    "of a queue that holds one message, the last is there for whoever looks": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", durable=True, arguments=LAST)), 2),
        (0, on(1, commands.Confirm.Select()), 1),
        (0, on(1, put(b"a", delivery_mode=2)), 1),
        (0, on(1, put(b"b", delivery_mode=2)), 1),
        (0, on(2, Channel.Open(), Basic.Qos(prefetch_count=1), Basic.Consume(queue="Q", consumer_tag="t")), 4),
        (0, on(1, put(b"c", delivery_mode=2)), 1),
        (0, on(2, Channel.Close(200, "", 0, 0)), 1),
        (0, on(3, Channel.Open(), Basic.Qos(prefetch_count=1), Basic.Consume(queue="Q", consumer_tag="t")), 4),
        (0, on(3, Channel.Close(200, "", 0, 0)), 1),
        (0, on(4, Channel.Open(), Basic.Qos(prefetch_count=1), Basic.Consume(queue="Q", consumer_tag="t")), 4),
    ],
    "what was never handed out cannot be acknowledged": [(0, on(1, Channel.Open(), Basic.Ack(7)), 2)],
    "a tag is taken": [
        (0, on(1, Channel.Open(), Queue.Declare(queue="Q", exclusive=True)), 2),
        (0, on(1, Basic.Consume(queue="Q", consumer_tag="t")), 1),
        (0, on(1, Basic.Consume(queue="Q", consumer_tag="t")), 1),
    ],
    "a connection ends as it should": [(0, on(0, Connection.Close(200, "", 0, 0)), 1)],
}


class Client:
    """Says frames, and keeps what matters of what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self.reader = reader
        self.writer = writer
        self.name = name
        self.heard: list[object] = []

    async def greet(self, user: str = "guest", world: str = "/") -> None:
        self.writer.write(GREETING)
        await self.hear(1)
        self.say(0, Connection.StartOk({"capabilities": CAN}, "PLAIN", f"\0{user}\0{user}"))
        await self.hear(1)
        if user == "guest":
            self.say(0, Connection.TuneOk(100, 131_072, 60))
            self.say(0, Connection.Open(world))
            await self.hear(1)

    def say(self, channel: int, said: Said) -> None:
        if isinstance(said, base.Frame):
            self._write(said, channel)
            return
        method, text, properties = said
        self._write(method, channel)
        known = Basic.Properties()
        for name, value in properties.items():
            setattr(known, name, value)
        self.writer.write(frame.marshal(header.ContentHeader(0, len(text), known), channel))
        if text:
            self.writer.write(frame.marshal(body.ContentBody(text), channel))

    def _write(self, method: base.Frame, channel: int) -> None:
        for name in ("queue", "exchange", "routing_key"):
            if "Q" in (value := str(getattr(method, name, ""))):
                setattr(method, name, value.replace("Q", self.name))
        self.writer.write(frame.marshal(method, channel))
        for name in ("queue", "exchange", "routing_key"):
            if self.name in (value := str(getattr(method, name, ""))):
                setattr(method, name, value.replace(self.name, "Q"))

    async def hear(self, count: int) -> None:
        """So many methods, and what belongs to them."""
        try:
            await self._hear(count)
        except TimeoutError:
            raise AssertionError(f"expected {count} methods more, got in all {self.heard}") from None

    async def _hear(self, count: int) -> None:
        left = 0
        async with asyncio.timeout(ANSWER_SECONDS):
            while count or left:
                head = await self.reader.readexactly(7)
                size = int.from_bytes(head[3:], "big")
                _, channel, came = frame.unmarshal(head + await self.reader.readexactly(size + 1))
                if isinstance(came, header.ContentHeader):
                    left = came.body_size
                    known = came.properties
                    self.heard.append((known.headers, known.correlation_id, known.delivery_mode))
                elif isinstance(came, body.ContentBody):
                    left -= len(came)
                    self.heard.append(came.value)
                elif isinstance(came, base.Frame):
                    count -= 1
                    left = -1 if came.name in ("Basic.Deliver", "Basic.Return") else 0
                    told = {name: getattr(came, name) for name in TOLD if hasattr(came, name)}
                    self.heard.append((channel, came.name, told))


async def heard(port: int, talk: Sequence[Step], name: str) -> list[list[object]]:
    clients: dict[int, Client] = {}
    try:
        for number, said, count in talk:
            if number not in clients:
                clients[number] = Client(*await asyncio.open_connection("127.0.0.1", port), name)
                await clients[number].greet()
            for channel, one in said:
                clients[number].say(channel, one)
            await clients[number].hear(count)
        return [client.heard for client in clients.values()]
    finally:
        for client in clients.values():
            client.writer.close()


async def twin() -> tuple[asyncio.Server, int]:
    listening = await AmqpServer(Storage(), asyncio.get_running_loop().time).serve("127.0.0.1", 0)
    assert isinstance(listening, asyncio.Server)
    return listening, listening.sockets[0].getsockname()[1]


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
async def test_the_twin_says_what_a_server_says(server: Server, talk: Sequence[Step]) -> None:
    name = next(_names)
    real = await heard(server.port, talk, name)
    listening, port = await twin()
    try:
        said = await heard(port, talk, name)
    finally:
        listening.close()
        await listening.wait_closed()
    assert said == real


@pytest.mark.parametrize(("user", "world"), [("nobody", "/"), ("guest", "none")])
async def test_who_may_not_come_is_told_so_alike(server: Server, user: str, world: str) -> None:
    listening, port = await twin()
    told: list[object] = []
    try:
        for place in (server.port, port):
            client = Client(*await asyncio.open_connection("127.0.0.1", place), "none")
            await client.greet(user, world)
            told.append(client.heard)
            client.writer.close()
    finally:
        listening.close()
        await listening.wait_closed()
    assert told[0] == told[1]
