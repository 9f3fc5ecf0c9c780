"""What the MongoDB store costs, beside pymongo by hand: `store_mongodb.py CASE SECONDS`.

Each case has a server of its own that speaks the protocol of MongoDB, and is not MongoDB: compare the two lines of a
pair, and take no figure for one of MongoDB's. What is counted of the processor is the client's.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import meter
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.write_concern import WriteConcern
from store_postgresql import PAGE, VALUE

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.mongodb.server import Server, started, why_not

from hanse.store.base import Batch, CollectionSchema, FieldSchema, Put
from hanse.store.mongodb.store import MongodbStore
from hanse.store.query import Compare, Query

ROWS = 2_000
FILL = 500
LASTING = WriteConcern("majority", j=True)

_numbers = itertools.count()
_decoded = {"customer": "Ada Lovelace, London", "tags": ["tea", "gift", "fragile"], "amount": 1234.56}


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


async def _opened(server: Server) -> MongodbStore:
    store = MongodbStore.from_url(server.store("bench"))
    types = {"number": "integer", "customer": "string", "tags": "array", "amount": "number"}
    fields = {name: FieldSchema(kind, required=True) for name, kind in types.items()}
    await store.open([CollectionSchema("sales", fields, indexed=("number",))])
    return store


async def _filled(server: Server) -> MongodbStore:
    store = await _opened(server)
    for _ in range(ROWS // FILL):
        await store.commit(_batch(FILL))
    return store


async def raw_commit(seconds: float, server: Server, at_once: int = 1) -> None:
    async with AsyncMongoClient[dict[str, object]](server.store()) as client:
        database = await _made(client)
        await meter.at_once(lambda: _raw_write(client, database), seconds, at_once)


async def raw_commit_64(seconds: float, server: Server) -> None:
    await raw_commit(seconds, server, 64)


async def _raw_write(
    client: AsyncMongoClient[dict[str, object]], database: AsyncDatabase[dict[str, object]], rows: int = 1
) -> None:
    """A row and a line of a log: what whoever wants a change feed writes at least; this one has no order."""
    numbers = [next(_numbers) for _ in range(rows)]
    sales = [{"_id": str(number), "number": number, **_decoded} for number in numbers]
    lines = [{"name": "sales", "id": str(number), "message_id": f"m{number}", **_decoded} for number in numbers]
    async with client.start_session() as session, await session.start_transaction(write_concern=LASTING):
        await database.sales.insert_many(sales, session=session)
        await database.log.insert_many(lines, session=session)


async def raw_load(seconds: float, server: Server) -> None:
    async with AsyncMongoClient[dict[str, object]](server.store()) as client:
        database = await _made(client, ROWS)
        ids = itertools.cycle(str(number) for number in range(ROWS))
        await meter.at_once(lambda: database.sales.find_one({"_id": next(ids)}), seconds, 1)


async def raw_find(seconds: float, server: Server) -> None:
    async with AsyncMongoClient[dict[str, object]](server.store()) as client:
        database = await _made(client, ROWS)
        numbers = itertools.cycle(range(ROWS - PAGE))

        async def ask() -> None:
            found = database.sales.find({"number": {"$gte": next(numbers)}}, sort=[("_id", 1)], limit=PAGE)
            assert len(await found.to_list()) == PAGE

        await meter.at_once(ask, seconds, 1)


async def _made(client: AsyncMongoClient[dict[str, object]], rows: int = 0) -> AsyncDatabase[dict[str, object]]:
    database = client["by_hand"]
    await database.create_collection("sales")
    await database.create_collection("log")
    await database.sales.create_index("number")
    if rows:
        await _raw_write(client, database, rows)
    return database


CASES: dict[str, Callable[[float, Server], object]] = {
    case.__name__: case
    for case in (commit, commit_64, load, find, raw_commit, raw_commit_64, raw_load, raw_find)
}  # fmt: skip

if __name__ == "__main__":
    if why := why_not():
        meter.tell(skipped=why)
    else:
        one = started()
        try:
            meter.run(CASES[sys.argv[1]](float(sys.argv[2]), one))  # type: ignore[arg-type]
        finally:
            one.remove()
