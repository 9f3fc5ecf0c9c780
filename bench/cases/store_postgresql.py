"""What the PostgreSQL store costs, beside asyncpg by hand: `store_postgresql.py CASE SECONDS`.

The server keeps what it commits.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Sized
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
from store_on_server import PAGE, OnServer, main, numbers, value

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.postgresql.server import Server, started, why_not

from hanse.store.postgresql import PostgresqlStore

CONNECTIONS = 16
"""Of the pool by hand; Hanse has its usual six."""

_TABLES = """
CREATE TABLE sales (id text PRIMARY KEY, rev bigint NOT NULL, value jsonb NOT NULL);
CREATE INDEX ON sales (((value ->> 'number')::bigint));
CREATE TABLE log (seq bigserial PRIMARY KEY, name text, id text, message_id text, after bytea);
"""
_FIND = f"SELECT * FROM sales WHERE (value ->> 'number')::bigint >= $1 ORDER BY id LIMIT {PAGE}"


class Asyncpg:
    """A log that may have gaps."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def write(self, rows: int) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            for _ in range(rows):
                number = next(numbers)
                row = value(number)
                seq = await connection.fetchval(
                    "INSERT INTO log (name, id, message_id, after) VALUES ('sales', $1, $2, $3) RETURNING seq",
                    *(str(number), f"m{number}", row),
                )
                await connection.execute("INSERT INTO sales VALUES ($1, $2, $3)", str(number), seq, row.decode())

    async def load(self, id: str) -> object:
        return await self._pool.fetchrow("SELECT id, rev, value FROM sales WHERE id = $1", id)

    async def find(self, least: int) -> Sized:
        return await self._pool.fetch(_FIND, least)


@asynccontextmanager
async def by_hand(server: Server) -> AsyncGenerator[Asyncpg]:
    async with asyncpg.create_pool(server.store(), min_size=1, max_size=CONNECTIONS) as pool:
        await pool.execute(_TABLES)
        yield Asyncpg(pool)


@contextmanager
def running() -> Generator[Server]:
    one = started("shared_buffers=64MB")
    try:
        yield one
    finally:
        one.remove()


if __name__ == "__main__":
    main(OnServer(why_not, running, lambda server: PostgresqlStore.from_url(server.store("bench")), by_hand))
