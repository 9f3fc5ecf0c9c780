"""What the PostgreSQL store costs, beside asyncpg by hand: `store_postgresql.py CASE SECONDS`.

Each case has a server of its own that keeps what it commits. What is counted of the processor is the client's.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import meter

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.postgresql.server import Server, started, why_not

from hanse.store.base import Batch, CollectionSchema, FieldSchema, Put
from hanse.store.postgresql import PostgresqlStore
from hanse.store.query import Compare, Query

VALUE = b'{"number":%d,"customer":"Ada Lovelace, London","tags":["tea","gift","fragile"],"amount":1234.56}'
ROWS = 10_000
FILL = 1_000
PAGE = 20
CONNECTIONS = 16
"""Of the pool by hand; Hanse has its usual six."""

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
        query = Query(where=Compare("ge", ("number",), next(numbers)), limit=PAGE)
        assert len((await store.find("sales", query)).rows) == PAGE

    await meter.at_once(ask, seconds, 1)
    await store.close()


def _batch(rows: int = 1) -> Batch:
    numbers = [next(_numbers) for _ in range(rows)]
    return Batch(at=1.0, writes=tuple(Put("sales", str(number), VALUE % number, f"m{number}") for number in numbers))


async def _opened(server: Server) -> PostgresqlStore:
    store = PostgresqlStore.from_url(server.store("bench"))
    types = {"number": "integer", "customer": "string", "tags": "array", "amount": "number"}
    fields = {name: FieldSchema(kind, required=True) for name, kind in types.items()}
    await store.open([CollectionSchema("sales", fields, indexed=("number",))])
    return store


async def _filled(server: Server) -> PostgresqlStore:
    store = await _opened(server)
    for _ in range(ROWS // FILL):
        await store.commit(_batch(FILL))
    return store


_RAW = """
CREATE TABLE sales (id text PRIMARY KEY, rev bigint NOT NULL, value jsonb NOT NULL);
CREATE INDEX ON sales (((value ->> 'number')::bigint));
CREATE TABLE log (seq bigserial PRIMARY KEY, name text, id text, message_id text, after bytea);
"""


async def raw_commit(seconds: float, server: Server, at_once: int = 1) -> None:
    pool = await _pool(server)

    async def write() -> None:
        await _raw_write(pool)

    await meter.at_once(write, seconds, at_once)
    await pool.close()


async def raw_commit_64(seconds: float, server: Server) -> None:
    await raw_commit(seconds, server, 64)


async def _raw_write(pool: asyncpg.Pool, rows: int = 1) -> None:
    """A row and a line of a log: what whoever wants a change feed writes at least; this one may have gaps."""
    async with pool.acquire() as connection, connection.transaction():
        for _ in range(rows):
            number = next(_numbers)
            value = VALUE % number
            seq = await connection.fetchval(
                "INSERT INTO log (name, id, message_id, after) VALUES ('sales', $1, $2, $3) RETURNING seq",
                *(str(number), f"m{number}", value),
            )
            await connection.execute("INSERT INTO sales VALUES ($1, $2, $3)", str(number), seq, value.decode())


async def raw_load(seconds: float, server: Server) -> None:
    pool = await _pool(server)
    await _raw_write(pool, ROWS)
    ids = itertools.cycle(str(number) for number in range(ROWS))
    await meter.at_once(lambda: pool.fetchrow("SELECT id, rev, value FROM sales WHERE id = $1", next(ids)), seconds, 1)
    await pool.close()


async def raw_find(seconds: float, server: Server) -> None:
    pool = await _pool(server)
    await _raw_write(pool, ROWS)
    numbers = itertools.cycle(range(ROWS - PAGE))
    statement = f"SELECT * FROM sales WHERE (value ->> 'number')::bigint >= $1 ORDER BY id LIMIT {PAGE}"

    async def ask() -> None:
        assert len(await pool.fetch(statement, next(numbers))) == PAGE

    await meter.at_once(ask, seconds, 1)
    await pool.close()


async def _pool(server: Server) -> asyncpg.Pool:
    pool = await asyncpg.create_pool(server.store(), min_size=1, max_size=CONNECTIONS)
    await pool.execute(_RAW)
    return pool


CASES: dict[str, Callable[[float, Server], object]] = {
    case.__name__: case
    for case in (commit, commit_64, load, find, raw_commit, raw_commit_64, raw_load, raw_find)
}  # fmt: skip

if __name__ == "__main__":
    if why := why_not():
        meter.tell(skipped=why)
    else:
        one = started("shared_buffers=64MB")
        try:
            meter.run(CASES[sys.argv[1]](float(sys.argv[2]), one))  # type: ignore[arg-type]
        finally:
            one.remove()
