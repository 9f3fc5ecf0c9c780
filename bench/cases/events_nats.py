"""Durable events through JetStream: `events_nats.py CASE SECONDS`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from calls_nats import NATS_SERVER, broker
from events import BATCH, TAKEN, Broker, Count, Publish, decode, encode, main
from events_ours import ours
from shop import ORDER, PLAIN, Order

from hanse.kernel.host import Host
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

TOPIC = "placed"
GROUP = "mail"
PENDING_MAX = 4_000
"""Events that nats-py may have published and not heard of."""


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


PUBLISH, SUBSCRIBE = ours(lambda url: NatsTransport(url, Host.system(), Options(app="shop")))
PUBLISH |= {"nats-py": publish_nats_py, "faststream": publish_faststream}
SUBSCRIBE |= {"nats-py": subscribe_nats_py, "faststream": subscribe_faststream}

if __name__ == "__main__":
    main(Broker(partial(broker, keeps=True) if NATS_SERVER.exists() else None, PUBLISH, SUBSCRIBE))
