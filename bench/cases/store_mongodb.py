"""What the MongoDB store costs, beside pymongo by hand: `store_mongodb.py CASE SECONDS`.

The server speaks the protocol of MongoDB, and is not MongoDB: compare the two lines of a pair, and take no figure for
one of MongoDB's.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Sized
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pymongo import AsyncMongoClient
from pymongo.write_concern import WriteConcern
from store_on_server import PAGE, OnServer, main, numbers

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.mongodb.server import Server, started, why_not

from hanse.store.mongodb.store import MongodbStore

ROWS = 2_000
LASTING = WriteConcern("majority", j=True)

Client = AsyncMongoClient[dict[str, object]]

_decoded = {"customer": "Ada Lovelace, London", "tags": ["tea", "gift", "fragile"], "amount": 1234.56}


class Pymongo:
    """A log that has no order."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._database = client["by_hand"]

    async def make(self) -> None:
        await self._database.create_collection("sales")
        await self._database.create_collection("log")
        await self._database.sales.create_index("number")

    async def write(self, rows: int) -> None:
        some = [next(numbers) for _ in range(rows)]
        sales = [{"_id": str(number), "number": number, **_decoded} for number in some]
        lines = [{"name": "sales", "id": str(number), "message_id": f"m{number}", **_decoded} for number in some]
        async with self._client.start_session() as session, await session.start_transaction(write_concern=LASTING):
            await self._database.sales.insert_many(sales, session=session)
            await self._database.log.insert_many(lines, session=session)

    async def load(self, id: str) -> object:
        return await self._database.sales.find_one({"_id": id})

    async def find(self, least: int) -> Sized:
        found = self._database.sales.find({"number": {"$gte": least}}, sort=[("_id", 1)], limit=PAGE)
        return await found.to_list()


@asynccontextmanager
async def by_hand(server: Server) -> AsyncGenerator[Pymongo]:
    async with Client(server.store()) as client:
        one = Pymongo(client)
        await one.make()
        yield one


@contextmanager
def running() -> Generator[Server]:
    one = started()
    try:
        yield one
    finally:
        one.remove()


if __name__ == "__main__":
    main(OnServer(why_not, running, lambda server: MongodbStore.from_url(server.store("bench")), by_hand, ROWS))
