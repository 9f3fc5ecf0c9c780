"""What becomes of commits when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.store.postgresql.proxy import between

from hanse.kernel.faults import Conflict, Malformed, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import AlreadyHandled, Batch, Mark, Put, Row
from hanse.store.mongodb.link import STATE
from hanse.store.mongodb.store import MongodbStore
from hanse.store.mongodb.url import parse_url
from hanse.store.query import Compare, Query
from hanse.testing.store_hooks import NOTES, ORDERS, batch, emit, follow, put

from .server import Server

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("spilled")]

WAIT_SECONDS = 60.0
WRITING = Path(__file__).with_name("writing.py")
MEGABYTE = 2**20


@asynccontextmanager
async def opened(url: str, host: Host | None = None) -> AsyncGenerator[MongodbStore]:
    store = MongodbStore(parse_url(url), host=host or Host.system())
    await store.open((ORDERS, NOTES))
    try:
        yield store
    finally:
        await store.close()


def direct(url: str) -> str:
    """By way of the proxy alone: the driver is told by the server where that is, and would go there."""
    return f"{url}&directConnection=true&serverSelectionTimeoutMS=300"


def hasty_host() -> Host:
    """A machine on which a second is over in a fiftieth of one."""
    real = Host.system()
    return Host(
        "hasty", now=real.now, monotonic=lambda: real.monotonic() * 50, chance=real.chance, entropy=real.entropy
    )


def handled(id: str) -> Batch:
    return Batch(1.0, (put(id, expected=0), emit(id)), (Mark("test", id),))


def large(id: str, megabytes: int) -> Put:
    return Put("orders", id, b'{"n":"%s"}' % (b"x" * megabytes * MEGABYTE), f"large-{id}")


async def at_last(commit: Callable[[], Awaitable[tuple[int, ...]]]) -> tuple[int, ...]:
    """What comes of it once the server is not away any more; nothing tells when that is noticed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await commit()
            except Unavailable:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("side", ["asked", "answered"])
async def test_a_connection_that_is_cut_at_any_step_of_a_commit_costs_nothing(
    url: str, mongodb: Server, side: str
) -> None:
    async with between(mongodb.port) as proxy, opened(direct(proxy.url(url))) as store:
        number = 0
        for step in (1, 2, 3, 5, 7):
            proxy.cut_at("asked" if side == "asked" else "answered", step)
            for _ in range(3):
                number += 1
                assert await store.commit(handled(str(number))) == (number * 2 - 1, number * 2)
        assert proxy.cuts >= 3
        assert await store.count("orders", Query()) == number
        assert await store.head() == number * 2


async def test_a_commit_whose_answer_is_lost_is_found_out(url: str, mongodb: Server) -> None:
    async with between(mongodb.port) as proxy, opened(direct(proxy.url(url))) as store:
        proxy.cut_once_asked(b"commitTransaction", 1)
        committing = asyncio.ensure_future(store.commit(handled("1")))  # noqa: TID251 - awaited below
        await asyncio.wait_for(proxy.was_refused.wait(), WAIT_SECONDS)
        proxy.refuses = False
        assert await committing == (1, 2)
        assert await store.head() == 2


async def test_what_nobody_knows_is_told_as_such_and_a_repeat_is_decided_by_its_mark(url: str, mongodb: Server) -> None:
    async with between(mongodb.port) as proxy, opened(direct(proxy.url(url)), hasty_host()) as store:
        await store.commit(handled("first"))
        proxy.cut_once_asked(b"commitTransaction", 1)
        with pytest.raises(Unavailable, match="it is not known whether that took effect"):
            await store.commit(handled("second"))
        proxy.refuses = False
        with pytest.raises(AlreadyHandled):
            await at_last(lambda: store.commit(handled("second")))
        assert await store.head() == 4


async def test_what_was_not_sent_to_be_committed_did_not_take_effect(url: str, mongodb: Server) -> None:
    async with between(mongodb.port) as proxy, opened(direct(proxy.url(url)), hasty_host()) as store:
        proxy.cut_once_asked(b"bulkWrite", 1)
        with pytest.raises(Unavailable, match=r"did nothing|is away"):
            await store.commit(handled("1"))
        proxy.refuses = False
        assert await at_last(lambda: store.commit(handled("1"))) == (1, 2)


class Told:
    """What became of the commits of some writers."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.over = False
        self._awaited: list[tuple[int, asyncio.Event]] = []

    async def write(self, store: MongodbStore, writer: str) -> None:
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
    frail: Server, frail_url: str
) -> None:
    told = Told()
    async with opened(frail_url) as store, asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(told.write(store, str(writer)))
        for _ in range(2):
            await told.more(20)
            await asyncio.to_thread(frail.restart)
        # It takes commits again, by itself.
        await told.more(20)
        told.over = True
    async with opened(frail_url) as again:
        ids = told.kept | told.refused | told.unknown
        rows = {row.id for row in (await again.find("orders", Query(limit=1_000))).rows}
        marked = {id for id in ids if await again.marked("test", id)}
        entries = await again.head()
    assert told.kept <= rows
    assert not told.refused & rows
    assert rows == marked
    assert entries == 2 * len(rows)


async def test_while_a_server_is_away_all_fails_and_then_goes_on(frail: Server, frail_url: str) -> None:
    async with opened(f"{frail_url}&serverSelectionTimeoutMS=300") as store:
        await store.commit(batch(put("1")))
        await asyncio.to_thread(frail.stop)
        with pytest.raises(Unavailable, match="is away"):
            await store.load("orders", "1")
        with pytest.raises(Unavailable, match="is away"):
            await store.commit(batch(put("2")))
        frail.start()
        await asyncio.to_thread(frail.wait_ready)
        await at_last(lambda: store.commit(batch(put("3"))))
        assert await store.load("orders", "1")
        assert await store.load("orders", "2") is None


async def test_a_writer_that_is_killed_leaves_whole_commits_and_stops_nobody(url: str) -> None:
    async with opened(url) as store:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(WRITING), url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        acknowledged: list[str] = []
        async with asyncio.timeout(WAIT_SECONDS):
            while len(acknowledged) < 20:
                acknowledged.append((await process.stdout.readline()).decode().strip())
        process.kill()
        await process.wait()
        assert await store.commit(handled("mine"))
        head = await store.head()
        entries = await follow(store, 0, head)
        assert [entry.seq for entry in entries] == list(range(1, head + 1))
        assert set(acknowledged) <= {entry.id for entry in entries}
        # Both writes of one commit, and its mark, or none.
        assert all(entries[n].id == entries[n + 1].id for n in range(0, head, 2))
        rows = await store.find("orders", Query(limit=1_000))
        assert {row.id for row in rows.rows} == {entry.id for entry in entries}


async def test_a_transaction_that_nobody_ends_holds_up_others_for_seconds_only(url: str) -> None:
    async with opened(url) as held, opened(url, hasty_host()) as store:
        one = held._open
        assert one is not None
        # As a process leaves it behind that is killed amid a commit, where the server does not see that it has gone.
        await one.session.start_transaction()
        state = one.link.books("state")
        await state.update_one({"_id": STATE}, {"$inc": {"head": 7}}, session=one.session)
        assert await store.commit(handled("1")) == (1, 2)
        await one.session.abort_transaction()
        # One that was only slow begins anew.
        assert await held.commit(handled("2")) == (3, 4)


async def test_of_several_processes_each_commit_has_its_place(url: str) -> None:
    async with opened(url) as one, opened(url) as two, opened(url) as three:
        stores = (one, two, three)
        told = await asyncio.gather(*(store.commit(handled(f"{n}")) for n, store in enumerate(stores * 8)))
        assert sorted(seq for pair in told for seq in pair) == list(range(1, 49))
        again = await asyncio.gather(*(store.commit(handled("0")) for store in stores), return_exceptions=True)
        assert all(isinstance(outcome, AlreadyHandled) for outcome in again)
        twice = await asyncio.gather(
            *(store.commit(batch(put("0", expected=0))) for store in stores), return_exceptions=True
        )
        assert all(isinstance(outcome, Conflict) for outcome in twice)


async def test_what_is_too_large_is_refused_and_takes_no_neighbour_along(url: str) -> None:
    async with opened(url) as store:
        outcomes = await asyncio.gather(
            store.commit(batch(put("1"))),
            store.commit(batch(large("2", 17))),
            store.commit(batch(put("3"))),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], TooLarge)
        assert sorted(outcomes[::2], key=str) == [(1,), (2,)]
        # A row is in its entry twice where it was there before: as it was, and as it is.
        assert await store.commit(batch(large("4", 3))) == (3,)
        assert await store.commit(batch(large("4", 5))) == (4,)
        with pytest.raises(TooLarge, match="16 MB"):
            await store.commit(batch(large("4", 9)))
        assert await store.head() == 4


async def test_what_cannot_be_written_or_asked_is_malformed_and_takes_no_neighbour_along(url: str) -> None:
    async with opened(url) as store:
        outcomes = await asyncio.gather(
            store.commit(batch(put("1"))), store.commit(batch(put("\ud800"))), return_exceptions=True
        )
        assert outcomes[0] == (1,)
        assert isinstance(outcomes[1], Malformed)
        with pytest.raises(Malformed, match="cannot be stored or compared"):
            await store.find("orders", Query(where=Compare("eq", ("sku",), "\ud800")))
        assert await store.load("orders", "1") == Row("1", 1, b'{"sku":"tea"}')
