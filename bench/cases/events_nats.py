"""Durable events through JetStream: `events_nats.py CASE SECONDS`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from calls import HEADERS
from calls_nats import NATS_SERVER, broker
from events import BATCH, ORDER, PLAIN, TAKEN, Broker, Count, Order, Publish, decode, encode, main

from hanse import App, Event, Node, Service, Settings, on, rpc
from hanse.kernel.host import Host
from hanse.kernel.message import EVENT, Message
from hanse.kernel.settings import NodeSettings
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

TOPIC = "placed"
GROUP = "mail"
PENDING_MAX = 4_000
"""Events that nats-py may have published and not heard of."""


class Ordered(Event):
    """An order came in."""

    order: Order


class Desk(Service, events=(Ordered,)):
    """Tells of orders."""

    @rpc
    async def place(self) -> None:
        """Of many at once."""
        await self.emit(*[Ordered(order=ORDER) for _ in range(BATCH)])


def node(app: App, url: str) -> Node:
    """One of two code bases, which share a topic."""
    settings = Settings(node=NodeSettings(events="broker", transport=url))
    return Node(app, settings, transport=NatsTransport(url, Host.system(), Options(app="shop")))


# Ours.


@contextlib.asynccontextmanager
async def publish_hanse(url: str) -> AsyncIterator[Publish]:
    host = Host.system()
    transport = NatsTransport(url, host)
    headers = type(HEADERS)(HEADERS.traceparent, identity=HEADERS.identity, type=TOPIC)
    await transport.open()

    async def publish() -> None:
        await transport.publish(
            [Message(EVENT, host.new_id(), TOPIC, 0.0, headers, encode(ORDER)) for _ in range(BATCH)]
        )

    yield publish
    await transport.close()


async def subscribe_hanse(url: str, count: Count, ready: asyncio.Event) -> None:
    transport = NatsTransport(url, Host.system())
    await transport.open()
    backlog = await transport.subscribe(GROUP, [TOPIC])
    ready.set()
    while True:
        for kept in await backlog.take(TAKEN):
            decode(kept.message.body)
            backlog.done(kept)
            count.add()


@contextlib.asynccontextmanager
async def publish_node(url: str) -> AsyncIterator[Publish]:
    async with node(App("desk", Desk), url) as desk:
        yield desk.client(Desk).place


async def subscribe_node(url: str, count: Count, ready: asyncio.Event) -> None:
    class Mail(Service):
        @on(Ordered)
        async def write(self, event: Ordered) -> None:
            count.add(1 if event.order.number else 0)

    async with node(App("mail", Mail), url):
        ready.set()
        await asyncio.Event().wait()


# nats-py.


@contextlib.asynccontextmanager
async def publish_nats_py(url: str) -> AsyncIterator[Publish]:
    import nats

    client = await nats.connect(url)
    stream = client.jetstream(publish_async_max_pending=PENDING_MAX)

    async def publish() -> None:
        for _ in range(BATCH):
            await stream.publish_async(TOPIC, encode(ORDER))

    yield publish
    await stream.publish_async_completed()
    await client.close()


async def subscribe_nats_py(url: str, count: Count, ready: asyncio.Event) -> None:
    import nats

    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="events", subjects=[TOPIC])
    found = await stream.pull_subscribe(TOPIC, durable=GROUP)
    ready.set()
    while True:
        with contextlib.suppress(TimeoutError):
            for message in await found.fetch(TAKEN, timeout=1.0):
                decode(message.data)
                await message.ack()
                count.add()


# FastStream.


@contextlib.asynccontextmanager
async def publish_faststream(url: str) -> AsyncIterator[Publish]:
    from faststream.nats import NatsBroker

    client = NatsBroker(url, logger=None)
    await client.connect()

    async def publish() -> None:
        await asyncio.gather(*[client.publish(PLAIN, TOPIC, stream="events") for _ in range(BATCH)])

    yield publish
    await client.stop()


async def subscribe_faststream(url: str, count: Count, ready: asyncio.Event) -> None:
    from faststream.nats import JStream, NatsBroker
    from pydantic import create_model

    client = NatsBroker(url, logger=None)

    async def handle(order: Order) -> None:
        count.add(1 if order is not None else 0)

    # As users of FastStream have it.
    handle.__annotations__["order"] = create_model(
        "Order", number=(int, ...), customer=(str, ...), tags=(list[str], ...), amount=(float, ...)
    )
    client.subscriber(TOPIC, stream=JStream("events", subjects=[TOPIC]), durable=GROUP)(handle)
    await client.start()
    ready.set()
    await asyncio.Event().wait()


PUBLISH = {
    "hanse": publish_hanse,
    "node": publish_node,
    "nats-py": publish_nats_py,
    "faststream": publish_faststream,
}
SUBSCRIBE = {
    "hanse": subscribe_hanse,
    "node": subscribe_node,
    "nats-py": subscribe_nats_py,
    "faststream": subscribe_faststream,
}

if __name__ == "__main__":
    main(Broker(partial(broker, keeps=True) if NATS_SERVER.exists() else None, PUBLISH, SUBSCRIBE))
