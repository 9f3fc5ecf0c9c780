"""The store on MongoDB keeps every promise, against a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import cast

import pytest
from pymongo import AsyncMongoClient

from hanse.store.base import CollectionSchema, Store
from hanse.store.mongodb.store import MongodbStore
from hanse.store.mongodb.url import MongodbUrl
from hanse.testing.store import StoreSuite
from hanse.testing.store_queries import THINGS

from .server import Server

pytestmark = pytest.mark.timeout(600)


class TestMongodbStore(StoreSuite):
    names = count()

    @pytest.fixture(autouse=True)
    async def on_server(self, quick_server: Server) -> AsyncGenerator[None]:
        self.server = quick_server
        self.things: MongodbStore | None = None
        yield
        if self.things is not None:
            await self.things.close()

    async def make(self) -> Store:
        return MongodbStore.from_url(self.server.store(f"suite{next(self.names)}"))

    async def reopen(self, store: Store) -> Store:
        return MongodbStore(cast("MongodbStore", store)._url)

    async def beside(self, store: Store) -> Store:
        return await self.reopen(store)

    @asynccontextmanager
    async def opened(self, *collections: CollectionSchema) -> AsyncGenerator[Store]:
        """As the suite has it; but of the many that examples are drawn for, one for all, emptied for each."""
        if collections != (THINGS,):
            async with super().opened(*collections) as store:
                yield store
            return
        if self.things is None:
            self.things = cast("MongodbStore", await self.make())
            await self.things.open(collections)
        else:
            await _empty(self.things._url)
        yield self.things


async def _empty(url: MongodbUrl) -> None:
    async with AsyncMongoClient[dict[str, object]](url.server) as client:
        database = client[url.database]
        for name in ("rows.things", "log"):
            await database[url.collection(name)].delete_many({})
        await database[url.collection("state")].update_one({}, {"$set": {"head": 0, "trimmed": 0}})
