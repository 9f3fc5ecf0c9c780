"""What becomes of commits to Redis when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.store.commits_suite import CommitsOnServer
from tests.store.on_server import WAIT_SECONDS, handled, hasty_host
from tests.store.proxy import Proxy

from hanse.kernel.faults import Unavailable
from hanse.store.base import Batch, Mark, Put
from hanse.store.query import Query
from hanse.store.redis import RedisStore
from hanse.store.redis.judge import VERSION_WAITS
from hanse.store.redis.link import Link
from hanse.store.redis.scripts import COMMIT, DECIDE
from hanse.testing.store_hooks import batch, put

from .helpers import OnRedis, linked, opened
from .server import running

pytestmark = pytest.mark.timeout(300)


class TestCommits(OnRedis, CommitsOnServer[RedisStore]):
    def lose(self, proxy: Proxy, *, took_effect: bool) -> None:
        proxy.cut_once_asked(COMMIT.sha, 1 if took_effect else 0)

    @asynccontextmanager
    async def held_up(self, url: str) -> AsyncGenerator[None]:
        async with linked(url) as (link, dialer):
            await link.ask(b"SET", dialer.names.turn, b"somebody")
            yield
            await link.ask(b"DEL", dialer.names.turn)


async def test_a_commit_that_was_given_up_is_refused_however_late_it_comes(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        assert store._open is not None
        committer = store._open.committer
        assert await store.commit(batch(put("1"))) == (1,)
        writer = [dialer.names.writer(committer.author)]
        assert await link.run(DECIDE, writer, b"1") == [b"done", b"0"]
        # The next one is given up before it comes, twice; then it does come.
        assert [await link.run(DECIDE, writer, b"2") for _ in range(2)] == [[b"never", b""]] * 2
        assert await store.commit(batch(put("2"))) == (2,)
        assert await link.run(DECIDE, writer, b"3") == [b"done", b"1"]


async def test_who_has_the_turn_and_is_gone_keeps_others_only_for_a_moment(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        await link.ask(b"SET", dialer.names.turn, b"somebody", b"PX", b"100")
        assert await store.commit(batch(put("1"))) == (1,)


async def test_who_never_gets_a_turn_is_told_that_nothing_was_done(url: str) -> None:
    async with opened(url, host=hasty_host()) as store, linked(url) as (link, dialer):
        await link.ask(b"SET", dialer.names.turn, b"somebody")
        with pytest.raises(Unavailable, match="did nothing: others kept writing"):
            await store.commit(batch(put("1")))
        assert await store.head() == 0


async def test_a_server_that_is_full_does_nothing_and_goes_on_when_it_has_room(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        url = server.store("full", synchronous="off")
        async with opened(url) as store, linked(url) as (link, _):
            await store.commit(handled("1"))
            await link.ask(b"CONFIG", b"SET", b"maxmemory", b"1mb")
            large = Batch(1.0, (Put("orders", "2", b'{"sku":"%s"}' % (b"x" * 100_000), "m"),), (Mark("test", "2"),))
            with pytest.raises(Unavailable, match="is full, and did nothing: its server has used up maxmemory"):
                await store.commit(large)
            assert (await store.head(), await store.load("orders", "2")) == (2, None)
            assert await store.marked("test", "2") is None
            await link.ask(b"CONFIG", b"SET", b"maxmemory", b"0")
            assert await store.commit(large) == (3,)


async def test_a_store_that_is_emptied_under_way_is_told_as_gone(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        url = server.store("emptied", synchronous="off")
        async with opened(url) as store, linked(url) as (link, _):
            await store.commit(handled("1"))
            await link.ask(b"FLUSHALL")
            for write in (put("2", expected=0), put("1")):
                with pytest.raises(Unavailable, match="is gone from its server"):
                    await store.commit(batch(write))
            assert await store.head() == 0
            assert (await store.changes(0, limit=9)).entries == ()


async def test_scripts_that_the_server_has_forgotten_are_told_it_again(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, _):
        await store.commit(batch(put("1")))
        await link.ask(b"SCRIPT", b"FLUSH")
        assert await store.commit(batch(put("2"))) == (2,)
        assert (await store.changes(0, limit=1)).upto == 1


async def test_a_commit_waits_for_the_disk_and_for_replicas_where_that_is_asked_for(tmp_path: Path) -> None:
    kept = ("--appendonly", "yes", "--appendfsync", "everysec")
    with running(tmp_path, *kept, "--repl-diskless-sync-delay", "0") as server:
        followed = tmp_path / "replica"
        followed.mkdir()
        with running(followed, *kept, "--replicaof", f"127.0.0.1 {server.port}"):
            async with linked(server.store("kept")) as (link, _):
                await _followed(link)
                async with opened(server.store("kept", replicas="1")) as store:
                    assert await store.commit(handled("1")) == (1, 2)
                assert b"cmdstat_wait:calls=1," in await _info(link, b"commandstats")
                if link.told.version < VERSION_WAITS:
                    return
                async with opened(server.store("kept", replicas="1", synchronous="full")) as store:
                    assert await store.commit(handled("2")) == (3, 4)
                assert b"cmdstat_waitaof:calls=1," in await _info(link, b"commandstats")


async def _followed(link: Link) -> None:
    """Return when a replica has all; nothing tells of it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if b"state=online" in await _info(link, b"replication"):
                return
            await asyncio.sleep(0.02)


async def _info(link: Link, section: bytes) -> bytes:
    info = await link.ask(b"INFO", section)
    assert isinstance(info, bytes)
    return info


async def test_values_of_many_megabytes_are_written_in_several_groups_and_read_in_several_pieces(url: str) -> None:
    value = msgspec.json.encode({"sku": "x" * 1_500_000})
    async with opened(url) as store:
        await asyncio.gather(*(store.commit(batch(Put("orders", str(n), value, f"m{n}"))) for n in range(9)))
        assert [len((await store.find("orders", Query(limit=9))).rows), await store.count("orders", Query())] == [9, 9]
        piece = await store.changes(0, limit=100)
        assert 2 <= len(piece.entries) < 9
        assert (piece.upto, piece.more) == (len(piece.entries), True)
