"""What the store on Redis does about dumps and loads that are cut short, held up or in each other's way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest
from tests.store.dumps_suite import MOMENT, ROW, DumpsOnServer, told
from tests.store.on_server import handled

from hanse.kernel.faults import Malformed, Unavailable
from hanse.kernel.message import NO_HEADERS
from hanse.store.base import Batch, Entry, Mark, Op, Row
from hanse.store.dump import Entries, Piece, Rows, StoreNotEmpty
from hanse.store.query import Compare, Query
from hanse.store.redis import RedisStore
from hanse.store.redis.group import mark_field
from hanse.store.redis.link import Dialer, Link
from hanse.store.redis.scripts import PIECE_BYTES_MAX
from hanse.testing.store_hooks import NOTES, batch, put

from .helpers import OnRedis, linked, opened

pytestmark = pytest.mark.timeout(120)


class TestDumps(OnRedis, DumpsOnServer[RedisStore]):
    async def lose(self, url: str) -> None:
        async with linked(url) as (link, dialer):
            await link.ask(b"DEL", dialer.names.meta)

    async def left(self, url: str) -> int:
        return len(await _left(url))


async def _left(url: str) -> list[bytes]:
    """All keys that a load has left."""
    async with linked(url) as (link, dialer):
        return cast("list[bytes]", await link.ask(b"KEYS", dialer.names.key("load").replace(b"{", b"\\{") + b"*"))


async def older_mark(link: Link, dialer: Dialer) -> None:
    names, field = dialer.names, mark_field("test", "old")
    await link.all((b"HSET", names.marks, field, b"\x92\xc4\x00\xc4\x00"), (b"ZADD", names.marks_at, b"1", field))


async def older_trim(link: Link, dialer: Dialer) -> None:
    await link.all((b"HSET", dialer.names.meta, b"trimmed", b"1"), (b"XTRIM", dialer.names.log, b"MINID", b"=", b"2"))


async def older_trim_of_marks(link: Link, dialer: Dialer) -> None:
    await link.ask(b"HDEL", dialer.names.marks, mark_field("test", "1"))


@pytest.mark.parametrize("change", [older_mark, older_trim, older_trim_of_marks])
async def test_an_older_version_that_writes_meanwhile_is_noticed(
    url: str, change: Callable[[Link, Dialer], Awaitable[None]]
) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        await store.commit(handled("1"))
        async with store.dump() as dump:
            await change(link, dialer)
            with pytest.raises(Unavailable, match="who does not know of dumps"):
                _ = [piece async for piece in dump.pieces]


async def test_a_dump_ends_with_its_connection_and_leaves_nothing(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        await store.commit(handled("1"))
        async with store.dump() as dump:
            await link.ask(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes")
            with pytest.raises(Unavailable, match="is away"):
                _ = [piece async for piece in dump.pieces]
        async with store.dump() as dump:
            assert len([piece async for piece in dump.pieces]) == 3
        assert await link.ask(b"EXISTS", dialer.names.dump) == 0


async def test_something_else_in_place_of_a_store_is_not_dumped(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        await link.ask(b"DEL", dialer.names.meta)
        await link.ask(b"SET", dialer.names.meta, b"")
        with pytest.raises(Exception, match="WRONGTYPE"):
            async with store.dump():
                pass
        await link.ask(b"DEL", dialer.names.meta)


def entry(seq: int) -> Entry:
    return Entry(seq, 1.0, Op.EMITTED, "placed", "k", "m", None, b"{}", 0, NO_HEADERS)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([Entries([entry(2)]), Entries([entry(1)])], "entries of a dump in order, got 1 after 2"),
        ([Rows("orders", [Row("\ud800", 1, b"{}")])], "cannot be stored"),
    ],
)
async def test_what_redis_cannot_have_is_refused_and_leaves_none(url: str, pieces: Sequence[Piece], why: str) -> None:
    async with opened(url) as store:
        with pytest.raises(Malformed, match=why):
            await store.restore(MOMENT, told(*pieces))
        assert await _left(url) == []
        await store.restore(MOMENT, told(Rows("orders", [ROW])))
        assert await store.load("orders", "1") == ROW


async def test_what_a_load_that_was_killed_has_left_is_removed_by_the_next(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        left = dialer.names.loaded(dialer.names.rows("orders"), "killed")
        await link.all((b"HSET", left, b"2", b"1 {}"), (b"SADD", dialer.names.load, left))
        await store.restore(MOMENT, told(Rows("orders", [ROW])))
        assert await _left(url) == []
        assert await store.count("orders", Query()) == 1


async def test_what_comes_of_the_pieces_is_raised_as_it_is(url: str) -> None:
    async def unread() -> None:
        raise OSError("the disk is gone")

    async with opened(url) as store:
        with pytest.raises(OSError, match="the disk is gone"):
            await store.restore(MOMENT, told(then=unread))


async def test_indexes_are_loaded_and_kept(url: str) -> None:
    async with opened(url) as store, opened(url) as other:
        await store.restore(MOMENT, told(Rows("orders", [ROW]), Rows("notes", [Row("1", 8, b"{}")])))
        await other.commit(batch(put("1", "coffee"), put("2")))
        for one in (store, other):
            for sku, ids in {"tea": ["2"], "coffee": ["1"]}.items():
                found = await one.find("orders", Query(where=Compare("eq", ("sku",), sku)))
                assert [row.id for row in found.rows] == ids


async def test_rows_that_are_large_are_written_a_few_at_a_time(url: str) -> None:
    value = b'{"sku":"%s"}' % (b"x" * (PIECE_BYTES_MAX // 2))
    rows = [Row(str(number), 9, value) for number in range(3)]
    async with opened(url, NOTES) as store:
        await store.restore(MOMENT, told(Rows("notes", rows)))
        assert [await store.load("notes", row.id) for row in rows] == rows


async def test_whoever_writes_meanwhile_wins_and_the_load_is_refused(url: str) -> None:
    async with opened(url) as store, opened(url) as other:

        async def write() -> None:
            await other.commit(batch(put("7", collection="notes")))

        with pytest.raises(StoreNotEmpty, match=r"found (notes|entries of the log)"):
            await store.restore(MOMENT, told(Rows("orders", [ROW]), then=write))
        assert [await other.count(name, Query()) for name in ("orders", "notes")] == [0, 1]


async def test_a_mark_that_is_made_meanwhile_refuses_the_load(url: str) -> None:
    async with opened(url) as store:

        async def write() -> None:
            await store.commit(Batch(1.0, marks=(Mark("a", "b"),)))

        with pytest.raises(StoreNotEmpty, match="found marks"):
            await store.restore(MOMENT, told(Rows("orders", [ROW]), then=write))


async def test_others_hear_that_a_store_was_loaded(url: str) -> None:
    async with opened(url) as store, opened(url) as other:
        heard = Heard(other)
        await store.restore(MOMENT, told(Entries([entry(3)])))
        assert [one.seq for one in await heard.entries()] == [3]


class Heard:
    """Waits until a store wakes who listens, and reads its log."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._woken = asyncio.Event()
        self._stop = store.listen(self._woken.set)

    async def entries(self) -> Sequence[Entry]:
        await self._woken.wait()
        self._stop()
        return (await self._store.changes(0, limit=9)).entries
