"""Stores on MongoDB, as the tests of this folder open them, and what is there past them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from tests.store.on_server import OnServer
from tests.store.proxy import Proxy

from hanse.kernel.host import Host
from hanse.store.mongodb.store import MongodbStore
from hanse.store.mongodb.url import parse_url
from hanse.store.remote.crew import Crew

Document = dict[str, object]
Database = AsyncDatabase[Document]

IMPATIENT = "&serverSelectionTimeoutMS=300"


class OnMongodb(OnServer[MongodbStore]):
    def make(self, url: str, host: Host) -> MongodbStore:
        return MongodbStore(parse_url(url), host=host)

    def crew(self, store: MongodbStore) -> Crew:
        return store._crew

    def behind(self, proxy: Proxy, url: str) -> str:
        # By way of the proxy alone: the driver is told by the server where that is, and would go there.
        return f"{proxy.url(url)}&directConnection=true{IMPATIENT}"


opened = OnMongodb().opened
opens = OnMongodb().opens
behind = OnMongodb().behind


@asynccontextmanager
async def looked_into(url: str) -> AsyncGenerator[tuple[Database, Callable[[str], str]]]:
    """The database past a store, and what the store calls its collections there."""
    parsed = parse_url(url)
    async with AsyncMongoClient[Document](parsed.server) as client:
        yield client[parsed.database], parsed.collection
