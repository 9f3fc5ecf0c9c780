"""What becomes of commits when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest
from tests.store.postgresql.proxy import Side, between

from hanse.kernel.faults import Fault, Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import CHANGES_MAX, AlreadyHandled, Batch, Emit, Mark, Position, Put
from hanse.store.query import Query
from hanse.store.redis import RedisStore
from hanse.store.redis.judge import VERSION_WAITS
from hanse.store.redis.link import Link
from hanse.store.redis.scripts import COMMIT, DECIDE
from hanse.testing.store_hooks import batch, put

from .helpers import WAIT_SECONDS, at_last, handled, linked, opened
from .server import Server, running

pytestmark = pytest.mark.timeout(300)

WRITING = Path(__file__).with_name("writing.py")


@pytest.mark.parametrize("side", ["asked", "answered"])
async def test_a_connection_that_is_cut_at_any_step_of_a_commit_costs_nothing(
    url: str, quick_server: Server, side: Side
) -> None:
    async with between(quick_server.port) as proxy, opened(proxy.url(url)) as store, opened(url) as other:
        number = 0
        for step in range(1, 7):
            proxy.cut_at(side, step)
            for _ in range(4):
                number += 1
                assert await store.commit(handled(str(number))) == (number * 2 - 1, number * 2)
        assert proxy.cuts >= 4
        assert await other.count("orders", Query()) == number
        assert await other.head() == number * 2


class Told:
    """What became of the commits of some writers."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.over = False
        self._awaited: list[tuple[int, asyncio.Event]] = []

    async def write(self, store: RedisStore, writer: str) -> None:
        number = 0
        while not self.over:
            id, number = f"{writer}-{number}", number + 1
            try:
                await store.commit(handled(id))
            except Unavailable as fault:
                (self.unknown if "not known" in str(fault) else self.refused).add(id)
                # Whoever is refused at once would otherwise never let the loop do anything else.
                await asyncio.sleep(0.01)
            else:
                self.kept.add(id)
                for count, event in self._awaited:
                    if len(self.kept) >= count:
                        event.set()

    async def more(self, count: int) -> None:
        """Wait until so many more are kept."""
        event = asyncio.Event()
        self._awaited.append((len(self.kept) + count, event))
        await asyncio.wait_for(event.wait(), WAIT_SECONDS)


async def test_of_a_server_that_is_killed_amid_commits_each_acknowledged_one_is_there(
    safe_server: Server, safe_url: str
) -> None:
    told = Told()
    async with opened(safe_url) as store, asyncio.TaskGroup() as group:
        for writer in range(8):
            group.create_task(told.write(store, str(writer)))
        for _ in range(3):
            await told.more(100)
            await asyncio.to_thread(safe_server.restart)
        # It takes commits again, by itself.
        await told.more(100)
        told.over = True
    async with opened(safe_url) as again:
        ids = told.kept | told.refused | told.unknown
        marked = {id for id in ids if await again.marked("test", id)}
        rows = {id for id in ids if await again.load("orders", id)}
        entries = await again.head()
        assert again.log_id == store.log_id
    assert told.kept <= marked
    assert not told.refused & marked
    assert rows == marked
    assert entries == 2 * len(marked)


async def test_of_a_process_that_is_killed_amid_commits_each_is_there_whole_or_not_at_all(
    safe_url: str,
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(WRITING), safe_url, "p", "16", "100000"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(200)]
    process.kill()
    lines += (await process.communicate())[0].splitlines(keepends=True)
    kept = {line.split()[0].decode() for line in lines if line.endswith(b"\n")}
    async with opened(safe_url) as store:
        rows = {row.id for row in (await store.find("orders", Query(limit=1_000))).rows}
        entries = (await store.changes(0, limit=1_000)).entries
        assert len(entries) < CHANGES_MAX, "all of them were read"
        assert kept <= rows
        assert {id for id in rows if await store.marked("test", id)} == rows
    assert [entry.seq for entry in entries] == list(range(1, 2 * len(rows) + 1))
    assert {entry.id for entry in entries[::2]} == {entry.id for entry in entries[1::2]} == rows


async def test_what_nobody_knows_is_told_as_such_and_a_repeat_is_decided_by_its_mark(
    url: str, quick_server: Server
) -> None:
    async with between(quick_server.port) as proxy, opened(proxy.url(url), host=hasty_host()) as store:
        await store.commit(handled("first"))
        proxy.cut_once_asked(COMMIT.sha, 1)
        with pytest.raises(Unavailable, match="it is not known whether that took effect"):
            await store.commit(handled("second"))
        proxy.refuses = False
        with pytest.raises(AlreadyHandled):
            await at_last(store, handled("second"))
        assert await store.head() == 4


def hasty_host() -> Host:
    """A machine on which a second is over in a fiftieth of one."""
    real = Host.system()
    return Host(
        "hasty", now=real.now, monotonic=lambda: real.monotonic() * 50, chance=real.chance, entropy=real.entropy
    )


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


async def test_while_a_server_is_away_all_fails_at_once_and_then_goes_on(safe_server: Server, safe_url: str) -> None:
    async with opened(safe_url) as store:
        await store.commit(batch(put("1")))
        await asyncio.to_thread(safe_server.kill)
        for _ in range(3):
            with pytest.raises(Unavailable, match="is away"):
                await store.load("orders", "1")
            with pytest.raises(Unavailable, match="is away"):
                await store.commit(batch(put("2")))
        safe_server.start()
        await asyncio.to_thread(safe_server.wait_ready)
        await at_last(store, batch(put("3")))
        assert await store.load("orders", "1")
        assert await store.load("orders", "2") is None


async def test_connections_that_broke_while_they_were_idle_are_noticed_by_nobody(url: str) -> None:
    async with opened(url) as store, linked(url) as (link, _):
        await store.commit(batch(put("1")))
        assert await store.load("orders", "1")
        await link.ask(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes")
        assert all(await asyncio.gather(*(store.load("orders", "1") for _ in range(8))))
        assert await store.commit(batch(put("2"))) == (2,)
        await link.ask(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes")
        assert await store.commit(batch(put("2", "ink", expected=2))) == (3,)


async def test_readers_of_many_writing_processes_see_no_gap_and_nothing_behind_them(url: str) -> None:
    processes, writers, commits = 3, 6, 25
    total = processes * writers * commits * 2
    async with opened(url) as store, opened(url) as other, asyncio.TaskGroup() as group:
        readers = [group.create_task(_seen(one, total)) for one in (store, other)]
        written = [group.create_task(_written(url, f"p{number}", writers, commits)) for number in range(processes)]
    assert [reader.result() for reader in readers] == [list(range(1, total + 1))] * 2
    assert sorted(seq for one in written for seq in one.result()) == list(range(1, total + 1))


async def _written(url: str, name: str, writers: int, commits: int) -> list[int]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(WRITING), url, name, str(writers), str(commits)), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    return [int(seq) for line in told.splitlines() for seq in line.split()[1:]]


async def _seen(store: RedisStore, total: int) -> list[int]:
    """The positions of all entries, in the order in which they were found, read as soon as there are any."""
    seen: list[int] = []
    woken, at = asyncio.Event(), 0
    stop = store.listen(woken.set)
    async with asyncio.timeout(200):
        while at < total:
            piece = await store.changes(at, limit=7)
            seen.extend(entry.seq for entry in piece.entries)
            if piece.upto == at:
                await woken.wait()
                woken.clear()
            at = piece.upto
    stop()
    return seen


async def test_of_many_processes_whose_answers_tell_revisions_each_gets_its_turn(url: str) -> None:
    def telling(id: str) -> Batch:
        tell = Mark("test", id, tell=lambda positions: b"%d" % positions[0])
        return Batch(1.0, (put(id, expected=0),), (tell,))

    async with opened(url) as one, opened(url) as other, opened(url) as third:
        ids = {
            f"{name}{number}": store
            for name, store in zip("abc", (one, other, third), strict=True)
            for number in range(40)
        }
        told = await asyncio.gather(*(store.commit(telling(id)) for id, store in ids.items()))
        assert sorted(told) == [(seq,) for seq in range(1, 121)]
        for id, (seq,) in zip(ids, told, strict=True):
            mark = await one.marked("test", id)
            assert mark is not None
            assert mark.result == b"%d" % seq


async def test_two_processes_who_change_one_row_again_and_again_lose_nothing(url: str) -> None:
    async def change(store: RedisStore) -> None:
        for _ in range(25):
            await store.commit(batch(put("1", "ink")))

    async with opened(url) as one, opened(url) as other:
        await asyncio.gather(*(change(store) for store in (one, other) for _ in range(2)))
        entries = (await one.changes(0, limit=200)).entries
        assert [entry.before_rev for entry in entries] == list(range(100))


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


async def test_whoever_waits_for_a_store_that_is_torn_down_is_told(url: str, quick_server: Server) -> None:
    async with opened(url) as store, linked(url) as (link, dialer):
        await link.ask(b"SET", dialer.names.turn, b"somebody")
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(_refusal(store, "1"))
            # Until it has been told that it is somebody else's turn.
            await _asked(link)
            waiting = group.create_task(_refusal(store, "2"))
            await asyncio.sleep(0)
            assert store._crew._writing is not None
            _ = store._crew._writing.cancel()
        assert "it is not known whether it took effect" in under_way.result()
        assert "before it wrote this" in waiting.result()


async def _asked(link: Link) -> None:
    """Return when the script that commits has been asked for once more."""
    async with asyncio.timeout(WAIT_SECONDS):
        begin = await _info(link, b"commandstats")
        while True:
            if _calls(await _info(link, b"commandstats")) != _calls(begin):
                return
            await asyncio.sleep(0.001)


def _calls(info: bytes) -> bytes:
    return info.partition(b"cmdstat_evalsha:")[2].partition(b",")[0]


async def _refusal(store: RedisStore, id: str) -> str:
    with pytest.raises(Unavailable) as told:
        await store.commit(batch(put(id)))
    return str(told.value)


async def test_one_value_that_cannot_be_stored_does_not_take_its_neighbours_along(url: str) -> None:
    async with opened(url) as store:
        batches = [batch(put(str(n))) for n in range(6)]
        batches[4] = batch(Put("orders", "deep", b'{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "m"))
        batches[2] = batch(Put("orders", "\ud800", b"{}", "m"))
        batches[3] = Batch(1.0, positions=(Position("far", 2**70),))
        outcomes = await asyncio.gather(*map(store.commit, batches), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [tuple, tuple, Malformed, Malformed, Malformed, tuple]
        assert await store.head() == 3
        assert await store.load("orders", "\ud800") is None


async def test_a_commit_that_only_asks_writes_nothing(url: str) -> None:
    async with opened(url) as store:
        await store.commit(batch(Emit("placed", "1", b"{}", "m")))
        assert await store.commit(batch()) == ()
        with pytest.raises(Fault):
            await store.commit(Batch(1.0, marks=(Mark("a", "b"), Mark("a", "b"))))


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
