"""What the Redis store costs, beside redis-py by hand: `store_redis.py CASE SECONDS`.

The server flushes what it is told at once.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Sized
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import redis.asyncio as client
from store_on_server import PAGE, OnServer, main, numbers, value

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.redis import server as servers

from hanse.store.query import Order
from hanse.store.redis import RedisStore


class RedisPy:
    """Rows with an index."""

    def __init__(self, redis: client.Redis) -> None:
        self._redis = redis

    async def write(self, rows: int) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(rows):
                number = next(numbers)
                row = value(number)
                pipe.hset("rows", str(number), row)
                pipe.zadd("numbers", {str(number): number})
                pipe.xadd("log", {"name": "sales", "id": str(number), "message_id": f"m{number}", "after": row})
            await pipe.execute()

    async def load(self, id: str) -> object:
        return await self._redis.hget("rows", id)

    async def find(self, least: int) -> Sized:
        ids = await self._redis.zrangebyscore("numbers", least, "+inf", start=0, num=PAGE)
        return await self._redis.hmget("rows", ids)


@asynccontextmanager
async def by_hand(server: servers.Server) -> AsyncGenerator[RedisPy]:
    async with client.Redis.from_url(server.url) as redis:
        yield RedisPy(redis)


@contextmanager
def running() -> Generator[servers.Server]:
    with (
        tempfile.TemporaryDirectory(prefix="hanse-redis-") as folder,
        servers.running(Path(folder), "--appendonly", "yes", "--appendfsync", "always") as one,
    ):
        yield one


if __name__ == "__main__":
    order = (Order(("number",)),)
    main(
        OnServer(
            *(servers.why_not, running, lambda server: RedisStore.from_url(server.store("bench")), by_hand),
            order=order,
        )
    )
