"""How a store is opened: by many at once, in a newer form, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from hanse.kernel.faults import CouldNotStart, Misdeclared, Unavailable
from hanse.kernel.host import Host
from hanse.node.stores import stored_in
from hanse.store.base import CollectionSchema, FieldSchema, Inside, Put
from hanse.store.mongodb.query import finding
from hanse.store.mongodb.store import MongodbStore
from hanse.store.mongodb.url import parse_url
from hanse.store.query import Compare, Order, Query
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

from .server import Server, free_port, started

pytestmark = pytest.mark.timeout(300)

Document = dict[str, object]


async def opened(url: str, *collections: CollectionSchema) -> MongodbStore:
    store = MongodbStore(parse_url(url), host=Host.system())
    await store.open(collections or (ORDERS, NOTES))
    return store


@asynccontextmanager
async def looked_into(url: str) -> AsyncGenerator[AsyncDatabase[Document]]:
    """What is there, past the store."""
    parsed = parse_url(url)
    async with AsyncMongoClient[Document](parsed.server) as client:
        yield client[parsed.database]


async def test_five_nodes_that_start_at_once_make_one_store(url: str) -> None:
    stores = await asyncio.gather(*(opened(url) for _ in range(5)))
    positions = await asyncio.gather(*(store.commit(batch(put(str(n)))) for n, store in enumerate(stores)))
    assert sorted(positions) == [(n,) for n in range(1, 6)]
    assert len({store.log_id for store in stores}) == 1
    for store in stores:
        await store.close()


@pytest.mark.parametrize("name", ["customers", "log"])
async def test_collections_of_something_else_are_refused_and_left_as_they_are(url: str, name: str) -> None:
    name = parse_url(url).collection(name)
    async with looked_into(url) as database:
        await database[name].insert_one({"_id": 1})
        with pytest.raises(CouldNotStart, match=r"collections of something else .* choose another prefix="):
            await opened(url)
        names = await database.list_collection_names()
        assert [one for one in names if one.startswith(parse_url(url).collection(""))] == [name]


async def test_a_newer_format_is_refused(url: str) -> None:
    await (await opened(url)).close()
    async with looked_into(url) as database:
        await database[parse_url(url).collection("state")].update_one({}, {"$set": {"format": 2}})
    with pytest.raises(CouldNotStart, match="has format 2, written by a newer Hanse"):
        await opened(url)


@pytest.mark.usefixtures("spilled")
async def test_a_server_by_itself_is_refused_and_one_that_is_not_there_is_away() -> None:
    alone: Server = await asyncio.to_thread(started, "--standalone")
    try:
        with pytest.raises(CouldNotStart, match=r"expected a replica set, .* --replSet rs0, and say rs\.initiate"):
            await opened(alone.url("alone"))
    finally:
        await asyncio.to_thread(alone.remove)
    with pytest.raises(Unavailable, match="is away"):
        await opened(f"mongodb://127.0.0.1:{free_port()}/shop?serverSelectionTimeoutMS=100")


async def test_what_is_declared_wrongly_is_refused_before_anything_is_made(url: str) -> None:
    with pytest.raises(Misdeclared):
        await opened(url, CollectionSchema("orders", {"sku": FieldSchema("colour", required=True)}))
    assert await asyncio.to_thread(stored_in, url) == {}


async def test_what_is_stored_can_be_seen_without_opening_it(url: str) -> None:
    assert stored_in(url) == {}
    await (await opened(url)).close()
    assert stored_in(url) == {"orders": ORDERS, "notes": NOTES}


async def test_a_collection_that_gets_an_index_uses_it_until_nobody_declares_it(url: str) -> None:
    plain = msgspec.structs.replace(ORDERS, indexed=())
    store = await opened(url, plain)
    await store.commit(batch(*(put(str(n), f"sku{n:04}") for n in range(200))))
    by_sku = Query(where=Compare("eq", ("sku",), "sku0042"))
    assert "IXSCAN" not in await _explained(url, by_sku)
    indexed = await opened(url, ORDERS)
    assert [row.id for row in (await indexed.find("orders", by_sku)).rows] == ["42"]
    assert "IXSCAN" in await _explained(url, by_sku)
    assert "IXSCAN" in await _explained(url, Query(order=(Order(("sku",)),), limit=5))
    await (await opened(url, plain)).close()
    assert "IXSCAN" not in await _explained(url, by_sku)
    for one in (store, indexed):
        await one.close()


async def _explained(url: str, query: Query) -> str:
    how = finding(query, ORDERS, None)
    async with looked_into(url) as database:
        books = database[parse_url(url).collection("rows.orders")]
        return str(await books.find(how.filter, sort=list(how.sort)).explain())


THINGS = CollectionSchema("things", {"size": FieldSchema("integer", required=True), "at": FieldSchema("any", True)})
WIDER = CollectionSchema(
    "things",
    {
        "size": FieldSchema("decimal", required=True),
        "at": FieldSchema("any", required=True, inside={"price": Inside("decimal")}),
        "colour": FieldSchema("string", required=False, default=b'"green"'),
    },
)


async def test_rows_of_an_older_version_are_found_by_what_a_newer_one_takes_them_for(url: str) -> None:
    old = await opened(url, THINGS)
    values = [b'{"size":%d,"at":{"price":"%d.50"}}' % (n, n) for n in range(600)]
    await old.commit(batch(*(Put("things", str(n), value, "m") for n, value in enumerate(values))))
    new = await opened(url, WIDER)
    # The old version still runs, and what it writes is found by the new one as well.
    await old.commit(batch(Put("things", "late", b'{"size":5000,"at":{"price":"7.5"}}', "m")))
    await new.commit(batch(Put("things", "young", b'{"size":"5000.0","at":{"price":"7.500"},"colour":"red"}', "m")))
    for store, where, count in (
        (new, Compare("eq", ("size",), "5000.00"), 2),
        (new, Compare("eq", ("at", "price"), "7.50"), 3),
        (new, Compare("ge", ("at", "price"), "599.5"), 1),
        (new, Compare("eq", ("colour",), "green"), 601),
        (old, Compare("ge", ("size",), 599), 2),
    ):
        assert await store.count("things", Query(where=where)) == count, where
    green = msgspec.structs.replace(WIDER.fields["colour"], default=b'"blue"')
    newest = await opened(url, msgspec.structs.replace(WIDER, fields={**WIDER.fields, "colour": green}))
    # Whose default it is depends on who asks.
    assert await newest.count("things", Query(where=Compare("eq", ("colour",), "blue"))) == 601
    assert await new.count("things", Query(where=Compare("eq", ("colour",), "green"))) == 601
    for store in (old, new, newest):
        await store.close()


async def test_names_may_be_longer_than_the_database_has_them(url: str) -> None:
    names = ["n" * 180 + end for end in ("a", "b")]
    store = await opened(url, *(CollectionSchema(name, {}) for name in names))
    for name in names:
        await store.commit(batch(put("1", collection=name)))
    assert [await store.count(name, Query()) for name in names] == [1, 1]
    await store.close()


async def test_whoever_closes_leaves_nothing_of_its_own_behind_and_the_dead_are_forgotten(url: str) -> None:
    store = await opened(url)
    async with looked_into(url) as database:
        state = database[parse_url(url).collection("state")]
        assert len(await _writers(state)) == 1
        await store.close()
        assert await _writers(state) == {}
        yesterday = {"$dateSubtract": {"startDate": "$$NOW", "unit": "hour", "amount": 25}}
        await state.update_one({}, [{"$set": {"writers.killed": {"n": 1, "at": yesterday}}}])
        again = await opened(url)
        assert "killed" not in await _writers(state)
        await again.close()


async def _writers(state: AsyncCollection[Document]) -> Document:
    found = await state.find_one({})
    return cast("Document", cast("Document", found)["writers"])


async def test_a_store_whose_collections_were_removed_says_so(url: str) -> None:
    store = await opened(url)
    async with looked_into(url) as database:
        await database.drop_collection(parse_url(url).collection("state"))
    for ask in (store.head, lambda: store.changes(0, limit=1)):
        with pytest.raises(Unavailable, match="somebody has removed its collections"):
            await ask()
    await store.close()
