"""What the store on MongoDB does about dumps and loads that are cut short, held up or in each other's way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.store.dumps_suite import MOMENT, ROW, DumpsOnServer, told

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.store.base import Batch, Mark, Position
from hanse.store.dump import Rows, StoreNotEmpty
from hanse.store.mongodb.dumping import RENEW_SECONDS
from hanse.store.mongodb.link import STATE
from hanse.store.mongodb.store import MongodbStore
from hanse.store.query import Query
from hanse.testing.store_hooks import batch, emit, put

from .helpers import OnMongodb, looked_into, opened

pytestmark = pytest.mark.timeout(120)

HANDLED = Batch(1.0, (put("1"), emit("1")), (Mark("test", "1"),))


class TestDumps(OnMongodb, DumpsOnServer[MongodbStore]):
    async def lose(self, url: str) -> None:
        async with looked_into(url) as (database, name):
            await database[name("state")].delete_one({"_id": STATE})

    async def left(self, url: str) -> int:
        async with looked_into(url) as (database, name):
            return await database[name("rows.orders")].count_documents({})


async def test_into_a_store_that_is_gone_nothing_is_loaded(url: str) -> None:
    async with opened(url) as store, looked_into(url) as (server, name):
        await server[name("state")].delete_one({"_id": STATE})
        with pytest.raises(Unavailable, match="is gone"):
            await store.restore(MOMENT, told())


async def test_a_dump_that_nobody_takes_any_more_holds_up_no_trimming_and_says_so(url: str) -> None:
    async with opened(url) as store, looked_into(url) as (server, name):
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
    async with opened(url, host=host) as store, looked_into(url) as (server, name):
        await store.commit(HANDLED)
        async with store.dump() as dump:
            old = {"$set": {"dump.at": datetime(2020, 1, 1, tzinfo=UTC)}}
            await server[name("state")].update_one({"_id": STATE}, old)
            late[0] = RENEW_SECONDS + 1
            assert isinstance(await anext(dump.pieces), Rows)
            assert await store.trim(99.0, keep_after=99) == 0


@pytest.mark.parametrize("change", ["writers.old.n", "trimmed"])
async def test_an_older_version_that_writes_meanwhile_is_noticed(url: str, change: str) -> None:
    async with opened(url) as store, looked_into(url) as (server, name):
        await store.commit(HANDLED)
        async with store.dump() as dump:
            await server[name("state")].update_one({"_id": STATE}, {"$set": {change: 1}})
            with pytest.raises(Unavailable, match="does not know of dumps"):
                _ = [piece async for piece in dump.pieces]


async def test_what_a_load_that_was_killed_has_left_is_not_written_to_and_removed_by_the_next(url: str) -> None:
    async with opened(url) as store, looked_into(url) as (server, name):
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


async def test_a_store_that_has_something_is_not_loaded_into(url: str) -> None:
    async with opened(url) as store:
        await store.restore(MOMENT, told(Rows("orders", [ROW])))
        with pytest.raises(StoreNotEmpty):
            await store.restore(MOMENT, told())


async def test_a_reader_of_names_that_are_rare_is_told_how_far_the_log_was_read(url: str) -> None:
    async with opened(url) as store:
        await store.restore(MOMENT, told())
        await store.commit(batch(emit("1")))
        head = await store.head()
        assert (await store.changes(9, limit=9, names=["rare"])).upto == head - 1
        assert (await store.changes(head - 1, limit=9, names=["rare"])).upto == head
