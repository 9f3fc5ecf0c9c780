"""Durable events through RabbitMQ: `events_rabbit.py CASE SECONDS`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from events import BATCH, TAKEN, Broker, Count, Publish, decode, encode, main
from events_ours import ours
from shop import ORDER, PLAIN, Order

from hanse.kernel.host import Host
from hanse.transport.amqp.transport import AmqpTransport

PORT, REGISTRY, PEERS = 20_960, 20_961, 20_962
READY_SECONDS_MAX = 60.0
QUEUE = "placed"

# What Debian has in /usr/sbin changes to a user who may not write to a temporary folder.
SERVER = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")


def environment(folder: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "ERL_EPMD_PORT": str(REGISTRY),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_DIST_PORT": str(PEERS),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(PORT),
        "RABBITMQ_MNESIA_BASE": f"{folder}/data",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }


def machine_of(group: int) -> int:
    """The process of Erlang's machine, among those that the start script has started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(") ")
            if int(rest.split()[2]) == group and "beam" in name:
                return int(stat.parent.name)
    raise RuntimeError("RabbitMQ has ended")


@contextlib.contextmanager
def start() -> Iterator[tuple[str, int]]:
    epmd = shutil.which("epmd")
    assert SERVER is not None
    assert epmd is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        registry = subprocess.Popen([epmd, "-address", "127.0.0.1", "-port", str(REGISTRY)])
        server = subprocess.Popen([SERVER], env=environment(folder), stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            until = time.monotonic() + READY_SECONDS_MAX
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=1):
                    break
                time.sleep(0.05)
            yield f"amqp://127.0.0.1:{PORT}", machine_of(server.pid)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            registry.kill()
            for process in (server, registry):
                process.wait()


# By hand, with aio-pika: a durable queue, persistent messages, confirmed; acknowledged one by one.


@contextlib.asynccontextmanager
async def publish_aio_pika(url: str) -> AsyncIterator[Publish]:
    import aio_pika

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        mode = aio_pika.DeliveryMode.PERSISTENT

        async def publish() -> None:
            messages = [aio_pika.Message(encode(ORDER), delivery_mode=mode) for _ in range(BATCH)]
            await asyncio.gather(*[channel.default_exchange.publish(one, QUEUE) for one in messages])

        yield publish


async def subscribe_aio_pika(url: str, count: Count, ready: asyncio.Event) -> None:
    import aio_pika

    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=TAKEN)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    ready.set()
    async with queue.iterator() as messages:
        async for message in messages:
            decode(message.body)
            await message.ack()
            count.add()


# FastStream.


@contextlib.asynccontextmanager
async def publish_faststream(url: str) -> AsyncIterator[Publish]:
    from faststream.rabbit import RabbitBroker

    broker = RabbitBroker(url, logger=None)
    await broker.start()

    async def publish() -> None:
        await asyncio.gather(*[broker.publish(PLAIN, QUEUE, persist=True) for _ in range(BATCH)])

    yield publish
    await broker.stop()


async def subscribe_faststream(url: str, count: Count, ready: asyncio.Event) -> None:
    from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
    from pydantic import create_model

    broker = RabbitBroker(url, logger=None, default_channel=Channel(prefetch_count=TAKEN))

    async def handle(order: Order) -> None:
        count.add(1 if order is not None else 0)

    # As users of FastStream have it.
    fields = {"number": (int, ...), "customer": (str, ...), "tags": (list[str], ...), "amount": (float, ...)}
    handle.__annotations__["order"] = create_model("Order", **fields)
    broker.subscriber(RabbitQueue(QUEUE, durable=True, queue_type=QueueType.QUORUM))(handle)
    await broker.start()
    ready.set()
    await asyncio.Event().wait()


if __name__ == "__main__":
    publishing, subscribing = ours(lambda url: AmqpTransport(url, Host.system()))
    main(
        Broker(
            start if SERVER is not None and shutil.which("epmd") is not None else None,
            publishing | {"aio-pika": publish_aio_pika, "faststream": publish_faststream},
            subscribing | {"aio-pika": subscribe_aio_pika, "faststream": subscribe_faststream},
        )
    )
