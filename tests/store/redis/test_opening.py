"""How a store is opened: by many at once, in a newer form, on servers that will not do, or not at all."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from tests.transport.process import free_port

from hanse.kernel.faults import CouldNotStart, Misdeclared, Unavailable
from hanse.kernel.resp import Wire
from hanse.node.stores import stored_in
from hanse.store.base import CollectionSchema, FieldSchema
from hanse.store.redis.scripts import LOST_MAX
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

from .helpers import WAIT_SECONDS, at_last, handled, linked, opened, wired
from .server import Server, running

pytestmark = pytest.mark.timeout(300)


async def test_ten_nodes_that_start_at_once_make_one_store(url: str) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one_of_ten(url, number)) for number in range(10)]
    log_ids, positions = zip(*(task.result() for task in tasks), strict=True)
    assert len(set(log_ids)) == 1
    assert sorted(positions) == [(n,) for n in range(1, 11)]


async def _one_of_ten(url: str, number: int) -> tuple[str, tuple[int, ...]]:
    # Each with a collection that the others do not know.
    async with opened(url, ORDERS, CollectionSchema(f"own{number}", {})) as store:
        return store.log_id, await store.commit(batch(put(str(number))))


async def test_keys_of_something_else_are_refused_and_left_as_they_are(url: str) -> None:
    async with linked(url) as (link, dialer):
        for key, command in ((dialer.names.meta, b"SET"), (dialer.names.log, b"SET")):
            await link.ask(command, key, b"mine")
            with pytest.raises(CouldNotStart, match="hold something else, and were left as they are"):
                async with opened(url):
                    pass
            assert await link.ask(b"GET", key) == b"mine"
            await link.ask(b"DEL", key)


async def test_a_newer_format_is_refused(url: str) -> None:
    async with opened(url):
        pass
    async with linked(url) as (link, dialer):
        await link.ask(b"HSET", dialer.names.meta, b"format", b"2")
    with pytest.raises(CouldNotStart, match="has format 2, written by a newer Hanse"):
        async with opened(url):
            pass


async def test_a_server_that_forgets_is_refused_unless_that_is_wanted(quick_server: Server) -> None:
    with pytest.raises(CouldNotStart, match="forgets everything when it stops; set appendonly yes"):
        async with opened(quick_server.store("forgotten")):
            pass


async def test_a_server_that_throws_keys_away_is_refused(tmp_path: Path) -> None:
    with (
        running(tmp_path, "--appendonly", "yes", "--maxmemory-policy", "allkeys-lru") as server,
        pytest.raises(CouldNotStart, match=r"maxmemory-policy allkeys-lru.*set maxmemory-policy noeviction"),
    ):
        async with opened(server.store("thrown")):
            pass


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
            async with opened(follower.store("led")):
                pass
        both = safe_server.store("led").replace("127.0.0.1", f"127.0.0.1:{follower.port},127.0.0.1")
        async with opened(both) as store:
            assert await store.commit(handled("1")) == (1, 2)


async def test_logins_that_are_wrong_and_servers_that_are_not_there_are_told_apart(safe_server: Server) -> None:
    url = safe_server.store("login").replace("redis://", "redis://ada:wrong@")
    with pytest.raises(CouldNotStart, match=r"WRONGPASS.*see to user, password and database") as told:
        async with opened(url):
            pass
    assert "wrong@" not in str(told.value)
    with pytest.raises(CouldNotStart, match="DB index"):
        async with opened(safe_server.store("login").replace("/0?", "/9999?")):
            pass
    with pytest.raises(Unavailable, match="is away"):
        async with opened(f"redis://127.0.0.1:{free_port()}/0"):
            pass


async def test_what_a_user_may_not_do_is_told_before_anything_is_made(url: str) -> None:
    async with linked(url) as (link, _):
        await link.ask(b"ACL", b"SETUSER", b"bob", b"on", b">secret", b"~*", b"&*", b"+@all", b"-xadd")
    bob = url.replace("redis://", "redis://bob:secret@")
    with pytest.raises(CouldNotStart, match="the user may not do what a store needs"):
        async with opened(bob):
            pass
    assert await asyncio.to_thread(stored_in, url) == {}


async def test_what_is_declared_wrongly_is_refused_before_anything_is_made(url: str) -> None:
    with pytest.raises(Misdeclared):
        async with opened(url, CollectionSchema("orders", {"sku": FieldSchema("colour", required=True)})):
            pass
    assert await asyncio.to_thread(stored_in, url) == {}


async def test_what_is_stored_can_be_seen_without_opening_it(url: str) -> None:
    assert stored_in(url) == {}
    async with opened(url):
        pass
    assert stored_in(url) == {"orders": ORDERS, "notes": NOTES}
    async with linked(url) as (link, dialer):
        await link.ask(b"HDEL", dialer.names.meta, b"format")
    with pytest.raises(CouldNotStart):
        stored_in(url)


async def test_whoever_closes_leaves_nothing_of_its_own_behind(url: str) -> None:
    async with linked(url) as (link, dialer):
        pattern = dialer.names.writer("*").replace(b"[", b"\\[")
        async with opened(url) as store:
            await store.commit(batch(put("1")))
            assert len(_keys(await link.ask(b"KEYS", pattern))) == 1
        assert _keys(await link.ask(b"KEYS", pattern)) == []


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
            await asyncio.to_thread(server.restart)
            assert await at_last(store, handled("2")) == (LOST_MAX + 3, LOST_MAX + 4)
            assert store.log_id != before
            async with opened(server.store("lossy")) as other:
                assert other.log_id == store.log_id
                piece = await other.changes(0, limit=10)
                assert [entry.seq for entry in piece.entries] == [1, 2, LOST_MAX + 3, LOST_MAX + 4]
                assert await other.commit(handled("3")) == (LOST_MAX + 5, LOST_MAX + 6)


async def test_another_version_of_the_service_that_comes_beside_disturbs_nobody(url: str) -> None:
    wider = CollectionSchema("more", {"size": FieldSchema("integer", required=True)})
    async with opened(url) as store:
        await store.commit(batch(put("1")))
        async with opened(url, ORDERS, NOTES, wider) as other:
            assert await store.commit(batch(put("2", expected=0))) == (2,)
            assert await store.commit(batch(put("1", "ink"))) == (3,)
            assert await other.commit(batch(put("3"))) == (4,)


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
            assert await at_last(store, batch(put("2"))) == (LOST_MAX + 2,)
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
