"""What becomes of commits when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hanse.kernel.faults import Fault, Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import AlreadyHandled, Batch, Emit, Mark, Position, Put
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.url import parse_url
from hanse.store.query import Compare, OneOf, Order, Query, Text
from hanse.testing.store_hooks import NOTES, ORDERS, batch, emit, put

from .proxy import Side, between
from .server import Server

pytestmark = pytest.mark.timeout(300)

WAIT_SECONDS = 60.0
WRITING = Path(__file__).with_name("writing.py")


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PostgresqlStore]:
    store = PostgresqlStore(parse_url(url), host=Host.system())
    await store.open((ORDERS, NOTES))
    try:
        yield store
    finally:
        await store.close()


def handled(id: str) -> Batch:
    return Batch(1.0, (put(id, expected=0), emit(id)), (Mark("test", id),))


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("side", ["asked", "answered"])
async def test_a_connection_that_is_cut_at_any_step_of_a_commit_costs_nothing(
    url: str, quick_server: Server, side: Side, alone: bool
) -> None:
    async with between(quick_server.port) as proxy, opened(proxy.url(url)) as store, opened(url) as other:
        number = 0
        for step in range(1, 9):
            assert store._open is not None
            store._open.committer._alone = alone
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

    async def write(self, store: PostgresqlStore, writer: str) -> None:
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
    assert told.kept <= marked
    assert not told.refused & marked
    assert rows == marked
    assert entries == 2 * len(marked)


@pytest.mark.parametrize("took_effect", [False, True])
async def test_what_nobody_knows_is_told_as_such_and_a_repeat_is_decided_by_its_mark(
    url: str, quick_server: Server, took_effect: bool
) -> None:
    async with between(quick_server.port) as proxy:
        # Statements are parsed each time, so that they can be seen, and are answered twice: parsed, and done.
        store = PostgresqlStore(parse_url(proxy.url(f"{url}&prepared=no")), host=hasty_host())
        await store.open((ORDERS, NOTES))
        await store.commit(handled("first"))
        proxy.cut_once_asked(b"WITH st AS", 2 if took_effect else 1)
        with pytest.raises(Unavailable, match="it is not known whether that took effect"):
            await store.commit(handled("second"))
        proxy.refuses = False
        if took_effect:
            with pytest.raises(AlreadyHandled):
                await at_last(lambda: store.commit(handled("second")))
        else:
            assert await at_last(lambda: store.commit(handled("second"))) == (3, 4)
        assert await store.head() == 4
        await store.close()


def hasty_host() -> Host:
    """A machine on which a second is over in a fiftieth of one."""
    real = Host.system()
    return Host(
        "hasty", now=real.now, monotonic=lambda: real.monotonic() * 50, chance=real.chance, entropy=real.entropy
    )


async def at_last(commit: Callable[[], Awaitable[tuple[int, ...]]]) -> tuple[int, ...]:
    """What comes of it once the server is not away any more; nothing tells when that is noticed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await commit()
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_while_a_server_is_away_all_fails_at_once_and_then_goes_on(safe_server: Server, safe_url: str) -> None:
    async with opened(safe_url) as store:
        await store.commit(batch(put("1")))
        await asyncio.to_thread(safe_server.stop)
        for _ in range(3):
            with pytest.raises(Unavailable, match="is away"):
                await store.load("orders", "1")
            with pytest.raises(Unavailable, match="is away"):
                await store.commit(batch(put("2")))
        safe_server.start()
        await asyncio.to_thread(safe_server.wait_ready)
        await at_last(lambda: store.commit(batch(put("3"))))
        assert await store.load("orders", "1")
        assert await store.load("orders", "2") is None


async def test_connections_that_broke_while_they_were_idle_are_noticed_by_nobody(url: str) -> None:
    async with opened(url) as store, opened(url) as other:
        await store.commit(batch(put("1")))
        _ = await asyncio.gather(*(store.load("orders", "1") for _ in range(8)))
        assert other._open is not None
        await other._open.pool.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hanse' "
            "AND pid <> pg_backend_pid()"
        )
        found = await asyncio.gather(*(store.load("orders", "1") for _ in range(8)))
        assert all(found)
        assert await store.commit(batch(put("2"))) == (2,)


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
    return [int(seq) for seq in told.split()]


async def _seen(store: PostgresqlStore, total: int) -> list[int]:
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


async def test_a_process_that_was_paused_amid_a_commit_does_not_keep_others_from_writing(
    url: str,
) -> None:
    async with opened(url) as store, opened(url) as paused:
        assert paused._open is not None
        committer = paused._open.committer
        committer._alone = False
        await paused.commit(batch(put("0")))
        link = committer._link
        assert link is not None
        # What a process leaves behind that stops between its statements: a transaction that holds the lock.
        await link.execute(
            f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1s'; "
            f"SELECT 1 FROM {committer._place}.state FOR UPDATE"
        )
        assert await store.commit(batch(put("1"))) == (2,)
        assert await paused.commit(batch(put("2"))) == (3,)


async def test_whoever_waits_for_a_store_that_is_torn_down_is_told(url: str) -> None:
    async with opened(url) as store, opened(url) as other:
        assert other._open is not None
        holding = other._open.committer
        link = holding._link
        assert link is not None
        _ = await link.execute(f"BEGIN; SELECT 1 FROM {holding._place}.state FOR UPDATE")
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(_refusal(store, "1"))
            # Until it waits for the lock, where it can neither go on nor be refused.
            while not (await link.fetch("SELECT count(*) FROM pg_locks WHERE NOT granted"))[0][0]:
                assert not under_way.done()
            waiting = group.create_task(_refusal(store, "2"))
            await asyncio.sleep(0)
            assert store._crew._writing is not None
            _ = store._crew._writing.cancel()
        assert "it is not known whether it took effect" in under_way.result()
        assert "before it wrote this" in waiting.result()
        _ = await link.execute("ROLLBACK")


async def _refusal(store: PostgresqlStore, id: str) -> str:
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


async def test_what_is_too_long_for_an_index_is_stored_found_and_ordered(url: str) -> None:
    async with opened(url) as store:
        long = "x" * 5_000
        skus = [long + "b", long + "a", long, "y"]
        await store.commit(batch(*(put(str(n), sku) for n, sku in enumerate(skus))))
        ordered = await store.find("orders", Query(order=(Order(("sku",)),)))
        assert [row.id for row in ordered.rows] == ["2", "1", "0", "3"]
        for where in (
            Compare("eq", ("sku",), long + "a"),
            OneOf(("sku",), (long + "a", "z")),
            Text("starts", ("sku",), long + "a"),
        ):
            assert [row.id for row in (await store.find("orders", Query(where=where))).rows] == ["1"]
        with pytest.raises(Malformed, match="cannot be stored"):
            await store.commit(batch(put("i" * 9_000 + "".join(map(chr, range(300, 4_000))))))


async def test_a_commit_that_only_asks_writes_nothing(url: str) -> None:
    async with opened(url) as store:
        await store.commit(batch(Emit("placed", "1", b"{}", "m")))
        assert await store.commit(batch()) == ()
        with pytest.raises(Fault):
            await store.commit(handled_twice())


def handled_twice() -> Batch:
    return Batch(1.0, marks=(Mark("a", "b"), Mark("a", "b")))
