"""What the store on MongoDB does about dumps and loads that are cut short, held up or in each other's way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from hanse.kernel.faults import Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import Batch, CollectionSchema, Mark, Position, Row
from hanse.store.dump import Entries, MarkAt, Marks, Moment, Piece, Positions, Rows, StoreNotEmpty
from hanse.store.mongodb.dumping import RENEW_SECONDS
from hanse.store.mongodb.link import STATE
from hanse.store.mongodb.store import MongodbStore
from hanse.store.mongodb.url import parse_url
from hanse.store.query import Query
from hanse.testing.store_hooks import NOTES, ORDERS, batch, emit, put

pytestmark = pytest.mark.timeout(120)

MOMENT = Moment("x", 9, 0)
ROW = Row("1", 9, b'{"sku":"tea"}')
HANDLED = Batch(1.0, (put("1"), emit("1")), (Mark("test", "1"),))

Database = AsyncDatabase[dict[str, object]]


@asynccontextmanager
async def opened(url: str, *collections: CollectionSchema, host: Host | None = None) -> AsyncGenerator[MongodbStore]:
    store = MongodbStore(parse_url(url), host=host or Host.system())
    await store.open(collections or (ORDERS, NOTES))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def raw(url: str) -> AsyncGenerator[tuple[Database, Callable[[str], str]]]:
    """The server by itself, and what the store calls its collections there."""
    parsed = parse_url(url)
    async with AsyncMongoClient[dict[str, object]](parsed.server) as client:
        yield client[parsed.database], parsed.collection


async def told(*pieces: Piece, then: Callable[[], Awaitable[object]] | None = None) -> AsyncGenerator[Piece]:
    for piece in pieces:
        yield piece
    if then is not None:
        _ = await then()


async def test_marks_and_entries_are_kept_while_a_dump_is_taken(url: str) -> None:
    async with opened(url) as store:
        await store.commit(HANDLED)
        async with store.dump() as dump:
            assert await store.trim(99.0, keep_after=99) == 0
            pieces = [piece async for piece in dump.pieces]
        assert [len(one.entries) for one in pieces if isinstance(one, Entries)] == [2]
        assert await store.trim(99.0, keep_after=99) == 2
        assert await store.marked("test", "1") is None


async def test_of_two_dumps_the_first_is_told_that_another_one_began(url: str) -> None:
    async with opened(url) as store, store.dump() as first, store.dump() as second:
        with pytest.raises(Unavailable, match="another one began"):
            _ = [piece async for piece in first.pieces]
        assert [piece async for piece in second.pieces] == []


async def test_a_dump_that_nobody_takes_any_more_holds_up_no_trimming_and_says_so(url: str) -> None:
    async with opened(url) as store, raw(url) as (server, name):
        await store.commit(HANDLED)
        async with store.dump() as dump:
            old = {"$set": {"dump.at": datetime(2020, 1, 1, tzinfo=UTC)}}
            await server[name("state")].update_one({"_id": STATE}, old)
            assert await store.trim(99.0, keep_after=99) == 2
            with pytest.raises(Unavailable, match="left alone for too long"):
                _ = [piece async for piece in dump.pieces]


async def test_a_dump_that_takes_long_says_that_it_is_still_taken(url: str) -> None:
    real, late = Host.system(), [0.0]
    host = Host(
        "slow", now=real.now, monotonic=lambda: real.monotonic() + late[0], chance=real.chance, entropy=real.entropy
    )
    async with opened(url, host=host) as store, raw(url) as (server, name):
        await store.commit(HANDLED)
        async with store.dump() as dump:
            old = {"$set": {"dump.at": datetime(2020, 1, 1, tzinfo=UTC)}}
            await server[name("state")].update_one({"_id": STATE}, old)
            late[0] = RENEW_SECONDS + 1
            assert isinstance(await anext(dump.pieces), Rows)
            assert await store.trim(99.0, keep_after=99) == 0


@pytest.mark.parametrize("change", ["writers.old.n", "trimmed"])
async def test_an_older_version_that_writes_meanwhile_is_noticed(url: str, change: str) -> None:
    async with opened(url) as store, raw(url) as (server, name):
        await store.commit(HANDLED)
        async with store.dump() as dump:
            await server[name("state")].update_one({"_id": STATE}, {"$set": {change: 1}})
            with pytest.raises(Unavailable, match="does not know of dumps"):
                _ = [piece async for piece in dump.pieces]


async def test_a_store_that_is_gone_or_closed_is_not_dumped_or_loaded(url: str) -> None:
    async with opened(url) as store, raw(url) as (server, name):
        await server[name("state")].delete_one({"_id": STATE})
        with pytest.raises(Unavailable, match="is gone"):
            async with store.dump():
                pass
        with pytest.raises(Unavailable, match="is gone"):
            await store.restore(MOMENT, told())
    with pytest.raises(Unavailable, match="open it first"):
        async with store.dump():
            pass
    with pytest.raises(Unavailable, match="open it first"):
        await store.restore(MOMENT, told())


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([Rows("orders", [ROW, ROW])], "holds something twice"),
        ([Positions([Position("a", 1)]), Positions([Position("a", 2)])], "holds something twice"),
        ([Marks([MarkAt(Mark("a", "b"), 1.0)]), Marks([MarkAt(Mark("a", "b"), 2.0)])], "holds something twice"),
        ([Positions([Position("a", 2**63)])], "cannot be stored"),
    ],
)
async def test_a_dump_that_cannot_be_is_refused_and_leaves_nothing(url: str, pieces: Sequence[Piece], why: str) -> None:
    async with opened(url) as store:
        with pytest.raises(Malformed, match=why):
            await store.restore(MOMENT, told(*pieces))
        assert await store.marked("a", "b") is None
        await store.restore(MOMENT, told(Rows("orders", [ROW])))
        assert await store.load("orders", "1") == ROW


async def test_what_a_load_that_was_killed_has_left_is_not_written_to_and_removed_by_the_next(url: str) -> None:
    async with opened(url) as store, raw(url) as (server, name):
        await server[name("state")].update_one({"_id": STATE}, {"$set": {"loading": "killed"}})
        await server[name("rows.orders")].insert_one({"_id": "2", "rev": 1, "value": b"{}", "keys": {}})
        with pytest.raises(Unavailable, match="a dump is being loaded"):
            await store.commit(HANDLED)
        await store.commit(Batch(1.0, positions=(Position("store/loading", 1),)))
        await store.restore(MOMENT, told(Rows("orders", [ROW])))
        assert await store.count("orders", Query()) == 1
        await store.commit(HANDLED)


async def test_a_load_refuses_whoever_writes_meanwhile(url: str) -> None:
    async with opened(url) as store, opened(url) as other:

        async def write() -> None:
            with pytest.raises(Unavailable, match="a dump is being loaded"):
                await other.commit(HANDLED)

        await store.restore(MOMENT, told(Rows("orders", [ROW]), then=write))
        assert await other.load("orders", "1") == ROW


async def test_of_two_loads_one_takes_effect(url: str) -> None:
    async with opened(url) as store, opened(url) as other:

        async def load() -> None:
            await other.restore(MOMENT, told(Rows("orders", [Row("2", 9, b"{}")])))

        with pytest.raises(Unavailable, match="nothing was loaded"):
            await store.restore(MOMENT, told(Rows("orders", [ROW]), then=load))
        assert [row.id for row in (await store.find("orders", Query())).rows] == ["2"]
        with pytest.raises(StoreNotEmpty):
            await store.restore(MOMENT, told())


async def test_a_node_that_changes_the_collections_meanwhile_refuses_the_load(url: str) -> None:
    async with opened(url) as store:

        async def change() -> None:
            async with opened(url, ORDERS, NOTES, CollectionSchema("others", {})):
                pass

        with pytest.raises(Unavailable, match="nothing was loaded"):
            await store.restore(MOMENT, told(Rows("orders", [ROW]), then=change))
        assert await store.count("orders", Query()) == 0
        await store.restore(MOMENT, told(Rows("orders", [ROW])))


async def test_a_reader_of_names_that_are_rare_is_told_how_far_the_log_was_read(url: str) -> None:
    async with opened(url) as store:
        await store.restore(MOMENT, told())
        await store.commit(batch(emit("1")))
        head = await store.head()
        assert (await store.changes(9, limit=9, names=["rare"])).upto == head - 1
        assert (await store.changes(head - 1, limit=9, names=["rare"])).upto == head
