"""How a store is opened: by many at once, in a newer form, on servers that will not do, or not at all."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import ClassVar

import pytest
from tests.store.on_server import WAIT_SECONDS, at_last, handled
from tests.store.opening_suite import OpeningOnServer

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.kernel.resp import Wire
from hanse.node.stores import stored_in
from hanse.store.query import Query
from hanse.store.redis import RedisStore
from hanse.store.redis.index import way
from hanse.store.redis.judge import VERSION_WAITS
from hanse.store.redis.opening import opened_in
from hanse.store.redis.scripts import LOST_MAX
from hanse.testing.store_hooks import batch, put

from .helpers import OnRedis, linked, opened, opens, wired
from .server import Server, running

pytestmark = pytest.mark.timeout(300)


class TestOpening(OnRedis, OpeningOnServer[RedisStore]):
    nowhere: ClassVar[str] = "redis://127.0.0.1:{port}/0?prefix=a"
    name_length: ClassVar[int] = 300

    async def write_format(self, url: str, version: str) -> None:
        async with linked(url) as (link, dialer):
            await link.ask(b"HSET", dialer.names.meta, b"format", version.encode())

    async def writers(self, url: str) -> int:
        async with linked(url) as (link, dialer):
            return len(_keys(await link.ask(b"KEYS", dialer.names.writer("*").replace(b"[", b"\\["))))

    async def goes_by_index(self, url: str, query: Query) -> bool:
        async with linked(url) as (link, dialer):
            return way(query, (await opened_in(link, dialer.names)).indexes) is not None


async def test_keys_of_something_else_are_refused_and_left_as_they_are(url: str) -> None:
    async with linked(url) as (link, dialer):
        for key, command in ((dialer.names.meta, b"SET"), (dialer.names.log, b"SET")):
            await link.ask(command, key, b"mine")
            with pytest.raises(CouldNotStart, match="hold something else, and were left as they are"):
                await opens(url)
            assert await link.ask(b"GET", key) == b"mine"
            await link.ask(b"DEL", key)


async def test_a_server_that_forgets_is_refused_unless_that_is_wanted(quick_server: Server) -> None:
    with pytest.raises(CouldNotStart, match="forgets everything when it stops; set appendonly yes"):
        await opens(quick_server.store("forgotten", synchronous="normal"))


async def test_a_server_that_throws_keys_away_is_refused(tmp_path: Path) -> None:
    with (
        running(tmp_path, "--appendonly", "yes", "--maxmemory-policy", "allkeys-lru") as server,
        pytest.raises(CouldNotStart, match=r"maxmemory-policy allkeys-lru.*set maxmemory-policy noeviction"),
    ):
        await opens(server.store("thrown"))


async def test_a_server_that_flushes_later_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, "--appendonly", "yes") as server, caplog.at_level(logging.WARNING):
        async with opened(server.store("later")) as store:
            await store.commit(handled("1"))
        told = [record.getMessage() for record in caplog.records]
        assert sum("appendfsync everysec" in one and "set appendfsync always" in one for one in told) == 1


async def test_a_server_that_only_follows_is_refused_and_the_one_that_leads_is_found(
    tmp_path: Path, safe_server: Server
) -> None:
    with running(tmp_path, "--appendonly", "yes", "--replicaof", f"127.0.0.1 {safe_server.port}") as follower:
        with pytest.raises(Unavailable, match="it follows another server, and takes no writes"):
            await opens(follower.store("led"))
        both = safe_server.store("led").replace("127.0.0.1", f"127.0.0.1:{follower.port},127.0.0.1")
        async with opened(both) as store:
            assert await store.commit(handled("1")) == (1, 2)


async def test_logins_that_are_wrong_are_told_from_servers_that_are_not_there(safe_server: Server) -> None:
    url = safe_server.store("login").replace("redis://", "redis://ada:wrong@")
    with pytest.raises(CouldNotStart, match=r"WRONGPASS.*see to user, password and database") as told:
        await opens(url)
    assert "wrong@" not in str(told.value)
    with pytest.raises(CouldNotStart, match="DB index"):
        await opens(safe_server.store("login").replace("/0?", "/9999?"))


async def test_what_a_user_may_not_do_is_told_before_anything_is_made(url: str) -> None:
    async with linked(url) as (link, _):
        await link.ask(b"ACL", b"SETUSER", b"bob", b"on", b">secret", b"~*", b"&*", b"+@all", b"-xadd")
    bob = url.replace("redis://", "redis://bob:secret@")
    with pytest.raises(CouldNotStart, match="the user may not do what a store needs"):
        await opens(bob)
    assert await asyncio.to_thread(stored_in, url) == {}


def _keys(found: object) -> list[object]:
    assert isinstance(found, list)
    return found


async def test_after_a_server_that_may_have_lost_commits_the_log_has_another_name_and_skips_positions(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--appendonly", "yes", "--appendfsync", "everysec") as server:
        async with opened(server.store("lossy")) as store:
            assert await store.commit(handled("1")) == (1, 2)
            before = store.log_id
            async with linked(server.store("lossy")) as (link, _):
                if link.told.version >= VERSION_WAITS:
                    # While its disk is busy, the server keeps for itself what it has acknowledged.
                    await link.ask(b"WAITAOF", b"1", b"0", b"9000")
            await asyncio.to_thread(server.restart)
            assert await at_last(lambda: store.commit(handled("2"))) == (LOST_MAX + 3, LOST_MAX + 4)
            assert store.log_id != before
            async with opened(server.store("lossy")) as other:
                assert other.log_id == store.log_id
                piece = await other.changes(0, limit=10)
                assert [entry.seq for entry in piece.entries] == [1, 2, LOST_MAX + 3, LOST_MAX + 4]
                assert await other.commit(handled("3")) == (LOST_MAX + 5, LOST_MAX + 6)


async def test_where_another_server_takes_over_commits_and_reads_go_there(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with (
        running(folders[0], "--repl-diskless-sync-delay", "0") as first,
        running(folders[1], "--replicaof", f"127.0.0.1 {first.port}") as second,
    ):
        url = first.store("moved", synchronous="off")
        both = url.replace(f":{first.port}", f":{first.port},127.0.0.1:{second.port}")
        async with opened(both) as store, linked(url) as (leading, _), wired(second) as following:
            await store.commit(batch(put("1")))
            assert await copied(following)
            before = store.log_id
            await following.ask(b"REPLICAOF", b"NO", b"ONE")
            await leading.ask(b"REPLICAOF", b"127.0.0.1", b"%d" % second.port)
            assert await at_last(lambda: store.commit(batch(put("2")))) == (LOST_MAX + 2,)
            assert store.log_id != before
            # At once, though the one that led still answers who reads.
            assert await store.load("orders", "2")
            assert await store.load("orders", "1")


async def copied(wire: Wire) -> bool:
    """Return when a server that follows has a row; nothing tells of it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if await wire.ask(b"EXISTS", b"hanse:{moved}:rows:orders"):
                return True
            await asyncio.sleep(0.02)
