"""What the Redis store costs, beside redis-py by hand: `store_redis.py CASE SECONDS`.

Each case has a server of its own that flushes what it is told at once. What is counted of the processor is that of the
client.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import meter
import redis.asyncio as client

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.redis.server import Server, running, why_not

from hanse.store.base import Batch, CollectionSchema, FieldSchema, Put
from hanse.store.query import Compare, Order, Query
from hanse.store.redis import RedisStore

VALUE = b'{"number":%d,"customer":"Ada Lovelace, London","tags":["tea","gift","fragile"],"amount":1234.56}'
ROWS = 10_000
FILL = 1_000
PAGE = 20

_numbers = itertools.count()


async def commit(seconds: float, server: Server, at_once: int = 1) -> None:
    store = await _opened(server)
    await meter.at_once(lambda: store.commit(_batch()), seconds, at_once)
    await store.close()


async def commit_64(seconds: float, server: Server) -> None:
    await commit(seconds, server, 64)


async def load(seconds: float, server: Server) -> None:
    store = await _filled(server)
    ids = itertools.cycle(str(number) for number in range(ROWS))
    await meter.at_once(lambda: store.load("sales", next(ids)), seconds, 1)
    await store.close()


async def find(seconds: float, server: Server) -> None:
    store = await _filled(server)
    numbers = itertools.cycle(range(ROWS - PAGE))

    async def ask() -> None:
        least = Compare("ge", ("number",), next(numbers))
        query = Query(where=least, order=(Order(("number",)),), limit=PAGE)
        assert len((await store.find("sales", query)).rows) == PAGE

    await meter.at_once(ask, seconds, 1)
    await store.close()


def _batch(rows: int = 1) -> Batch:
    numbers = [next(_numbers) for _ in range(rows)]
    puts = (Put("sales", str(number), VALUE % number, f"m{number}", expected=0) for number in numbers)
    return Batch(at=1.0, writes=tuple(puts))


async def _opened(server: Server) -> RedisStore:
    store = RedisStore.from_url(server.store("bench"))
    types = {"number": "integer", "customer": "string", "tags": "array", "amount": "number"}
    fields = {name: FieldSchema(kind, required=True) for name, kind in types.items()}
    await store.open([CollectionSchema("sales", fields, indexed=("number",))])
    return store


async def _filled(server: Server) -> RedisStore:
    store = await _opened(server)
    for _ in range(ROWS // FILL):
        await store.commit(_batch(FILL))
    return store


async def raw_commit(seconds: float, server: Server, at_once: int = 1) -> None:
    redis = client.Redis.from_url(server.url)
    await meter.at_once(lambda: _raw_write(redis), seconds, at_once)
    await redis.aclose()


async def raw_commit_64(seconds: float, server: Server) -> None:
    await raw_commit(seconds, server, 64)


async def _raw_write(redis: client.Redis, rows: int = 1) -> None:
    """A row, its index and a line of a log in one transaction: what whoever wants a change feed writes at least."""
    async with redis.pipeline(transaction=True) as pipe:
        for _ in range(rows):
            number = next(_numbers)
            value = VALUE % number
            pipe.hset("rows", str(number), value)
            pipe.zadd("numbers", {str(number): number})
            pipe.xadd("log", {"name": "sales", "id": str(number), "message_id": f"m{number}", "after": value})
        await pipe.execute()


async def raw_load(seconds: float, server: Server) -> None:
    redis = client.Redis.from_url(server.url)
    await _raw_write(redis, ROWS)
    ids = itertools.cycle(str(number) for number in range(ROWS))
    await meter.at_once(lambda: redis.hget("rows", next(ids)), seconds, 1)
    await redis.aclose()


async def raw_find(seconds: float, server: Server) -> None:
    redis = client.Redis.from_url(server.url)
    await _raw_write(redis, ROWS)
    numbers = itertools.cycle(range(ROWS - PAGE))

    async def ask() -> None:
        ids = await redis.zrangebyscore("numbers", next(numbers), "+inf", start=0, num=PAGE)
        assert len(await redis.hmget("rows", ids)) == PAGE

    await meter.at_once(ask, seconds, 1)
    await redis.aclose()


CASES: dict[str, Callable[[float, Server], object]] = {
    case.__name__: case
    for case in (commit, commit_64, load, find, raw_commit, raw_commit_64, raw_load, raw_find)
}  # fmt: skip

if __name__ == "__main__":
    if why := why_not():
        meter.tell(skipped=why)
    else:
        with (
            tempfile.TemporaryDirectory(prefix="hanse-redis-") as folder,
            running(Path(folder), "--appendonly", "yes", "--appendfsync", "always") as one,
        ):
            meter.run(CASES[sys.argv[1]](float(sys.argv[2]), one))  # type: ignore[arg-type]
