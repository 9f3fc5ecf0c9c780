"""How a store on MongoDB is opened: by many at once, in a newer form, or not at all."""

from __future__ import annotations

import asyncio
from typing import ClassVar, cast

import pytest
from tests.store.opening_suite import OpeningOnServer

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.store.mongodb.query import finding
from hanse.store.mongodb.store import MongodbStore
from hanse.store.query import Query
from hanse.testing.store_hooks import ORDERS

from .helpers import IMPATIENT, Document, OnMongodb, looked_into, opened, opens
from .server import Server, started

pytestmark = pytest.mark.timeout(300)


class TestOpening(OnMongodb, OpeningOnServer[MongodbStore]):
    nodes: ClassVar[int] = 5
    opening_steps: ClassVar[range] = range(1, 14, 5)
    nowhere: ClassVar[str] = "mongodb://127.0.0.1:{port}/shop?prefix=a" + IMPATIENT
    name_length: ClassVar[int] = 180
    # A few more than are given new keys at once.
    rows: ClassVar[int] = 600

    async def write_format(self, url: str, version: str) -> None:
        async with looked_into(url) as (database, name):
            await database[name("state")].update_one({}, {"$set": {"format": int(version)}})

    async def writers(self, url: str) -> int:
        return len(await _writers(url))

    async def goes_by_index(self, url: str, query: Query) -> bool:
        how = finding(query, ORDERS, None)
        async with looked_into(url) as (database, name):
            plan = await database[name("rows.orders")].find(how.filter, sort=list(how.sort)).explain()
        return "IXSCAN" in str(plan)


async def _writers(url: str) -> Document:
    async with looked_into(url) as (database, name):
        found = await database[name("state")].find_one({})
    return cast("Document", cast("Document", found)["writers"])


@pytest.mark.parametrize("other", ["customers", "log"])
async def test_collections_of_something_else_are_refused_and_left_as_they_are(url: str, other: str) -> None:
    async with looked_into(url) as (database, name):
        await database[name(other)].insert_one({"_id": 1})
        with pytest.raises(CouldNotStart, match=r"collections of something else .* choose another prefix="):
            await opens(url)
        names = await database.list_collection_names()
        assert [one for one in names if one.startswith(name(""))] == [name(other)]


async def test_a_server_by_itself_is_refused() -> None:
    alone: Server = await asyncio.to_thread(started, "--standalone")
    try:
        with pytest.raises(CouldNotStart, match=r"expected a replica set, .* --replSet rs0, and say rs\.initiate"):
            await opens(alone.store("alone"))
    finally:
        await asyncio.to_thread(alone.remove)


async def test_writers_that_died_are_forgotten_after_a_day(url: str) -> None:
    await opens(url)
    async with looked_into(url) as (database, name):
        yesterday = {"$dateSubtract": {"startDate": "$$NOW", "unit": "hour", "amount": 25}}
        killed = {"$set": {"writers.killed": {"n": 1, "at": yesterday}}}
        await database[name("state")].update_one({}, [killed])
    await opens(url)
    assert "killed" not in await _writers(url)


async def test_a_store_whose_collections_were_removed_says_so(url: str) -> None:
    async with opened(url) as store, looked_into(url) as (database, name):
        await database.drop_collection(name("state"))
        for ask in (store.head, lambda: store.changes(0, limit=1)):
            with pytest.raises(Unavailable, match="somebody has removed its collections"):
                await ask()
