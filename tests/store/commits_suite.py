"""What becomes of commits when servers are killed, connections cut, and several processes write."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from hanse.kernel.faults import Conflict, Fault, Malformed, Unavailable
from hanse.store.base import AlreadyHandled, Batch, Emit, Mark, Position, Put, Store
from hanse.store.query import Query
from hanse.testing.store_hooks import batch, follow, put

from .on_server import OnServer, S, Told, at_last, handled, hasty_host, seen, until
from .proxy import Proxy, Side, between
from .server import StoreServer


class CommitsOnServer(OnServer[S]):
    """Derive from it.

    Attributes:
        cut_steps: How many pieces come over a connection until it is cut; what a commit says is among them.
        cuts_min: Of those, how often it is cut at least.
        states: Of a store's, in which it commits in another way.
        kept_each: Commits that are waited for before each kill of the server.
        process_commits: Of each writer of a process that is not killed.
        impatient: Options that have it look for a server for a moment only.
    """

    cut_steps: ClassVar[range] = range(1, 7)
    cuts_min: ClassVar[int] = 4
    states: ClassVar[int] = 1
    kept_each: ClassVar[int] = 100
    process_commits: ClassVar[int] = 20
    impatient: ClassVar[str] = ""

    @abstractmethod
    def lose(self, proxy: Proxy, *, took_effect: bool) -> None:
        """Have the next commit break off, so that nobody knows what became of it; and nobody get in any more."""

    def behind_once(self, proxy: Proxy, url: str) -> str:
        """The URL of a store by way of a proxy that is going to lose a commit."""
        return self.behind(proxy, url)

    @abstractmethod
    def held_up(self, url: str) -> AbstractAsyncContextManager[object]:
        """While this lasts, no commit comes to an end."""

    def enter(self, store: S, state: int) -> None:
        """Have it commit in another way."""

    @pytest.mark.parametrize("side", ["asked", "answered"])
    async def test_a_connection_that_is_cut_at_any_step_of_a_commit_costs_nothing(
        self, url: str, quick_server: StoreServer, side: Side
    ) -> None:
        async with between(quick_server.port) as proxy, self.opened(self.behind(proxy, url)) as store:
            number = 0
            for step in self.cut_steps:
                for state in range(self.states):
                    self.enter(store, state)
                    proxy.cut_at(side, step)
                    for _ in range(4):
                        number += 1
                        assert await store.commit(handled(str(number))) == (number * 2 - 1, number * 2)
            assert proxy.cuts >= self.cuts_min * self.states
            async with self.opened(url) as other:
                assert await other.count("orders", Query()) == number
                assert await other.head() == number * 2

    async def test_of_a_server_that_is_killed_amid_commits_each_acknowledged_one_is_there(
        self, safe_server: StoreServer, safe_url: str
    ) -> None:
        told = Told()
        async with self.opened(safe_url) as store, asyncio.TaskGroup() as group:
            for writer in range(8):
                group.create_task(told.write(store, str(writer)))
            for _ in range(2):
                await told.more(self.kept_each)
                await asyncio.to_thread(safe_server.restart)
            # It takes commits again, by itself.
            await told.more(self.kept_each)
            told.over = True
        async with self.opened(safe_url) as again:
            await told.check(again)
            assert again.log_id == store.log_id

    async def test_of_a_process_that_is_killed_amid_commits_each_is_there_whole_or_not_at_all(self, url: str) -> None:
        process = await self.writing(url, "p", 8, 100_000)
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(50)]
        process.kill()
        lines += (await process.communicate())[0].splitlines(keepends=True)
        kept = {line.split()[0].decode() for line in lines if line.endswith(b"\n")}
        async with self.opened(url) as store:
            # It holds up nobody.
            await store.commit(handled("mine"))
            entries = await follow(store, 0, await store.head(), limit=1_000)
            rows = {entry.id for entry in entries}
            assert await store.count("orders", Query()) == len(rows)
            assert kept <= rows
            assert all([await store.load("orders", id) for id in rows])
            assert {id for id in rows if await store.marked("test", id)} == rows
        assert [entry.seq for entry in entries] == list(range(1, 2 * len(rows) + 1))
        assert {entry.id for entry in entries[::2]} == {entry.id for entry in entries[1::2]} == rows

    @pytest.mark.parametrize("took_effect", [False, True])
    async def test_what_nobody_knows_is_told_as_such_and_a_repeat_is_decided_by_its_mark(
        self, url: str, quick_server: StoreServer, took_effect: bool
    ) -> None:
        async with (
            between(quick_server.port) as proxy,
            self.opened(self.behind_once(proxy, url), host=hasty_host()) as store,
        ):
            await store.commit(handled("first"))
            self.lose(proxy, took_effect=took_effect)
            with pytest.raises(Unavailable, match="it is not known whether that took effect"):
                await store.commit(handled("second"))
            proxy.refuses = False
            if took_effect:
                with pytest.raises(AlreadyHandled):
                    await at_last(lambda: store.commit(handled("second")))
            else:
                assert await at_last(lambda: store.commit(handled("second"))) == (3, 4)
            assert await store.head() == 4

    async def test_while_a_server_is_away_all_fails_at_once_and_then_goes_on(
        self, safe_server: StoreServer, safe_url: str
    ) -> None:
        async with self.opened(safe_url + self.impatient) as store:
            await store.commit(batch(put("1")))
            await asyncio.to_thread(safe_server.stop)
            for _ in range(2):
                with pytest.raises(Unavailable, match="is away"):
                    await store.load("orders", "1")
                with pytest.raises(Unavailable, match="is away"):
                    await store.commit(batch(put("2")))
            safe_server.start()
            await asyncio.to_thread(safe_server.wait_ready)
            await at_last(lambda: store.commit(batch(put("3"))))
            assert await store.load("orders", "1")
            assert await store.load("orders", "2") is None

    async def test_connections_that_broke_while_they_were_idle_are_noticed_by_nobody(
        self, url: str, quick_server: StoreServer
    ) -> None:
        async with between(quick_server.port) as proxy, self.opened(self.behind(proxy, url)) as store:
            assert await store.commit(batch(put("1"))) == (1,)
            _ = await asyncio.gather(*(store.load("orders", "1") for _ in range(8)))
            proxy.cut_all()
            assert all(await asyncio.gather(*(store.load("orders", "1") for _ in range(8))))
            assert await store.commit(batch(put("2"))) == (2,)
            proxy.cut_all()
            assert await store.commit(batch(put("2", "ink", expected=2))) == (3,)

    async def test_readers_of_many_writing_processes_see_no_gap_and_nothing_behind_them(self, url: str) -> None:
        processes, writers, commits = 2, 6, self.process_commits
        total = processes * writers * commits * 2
        async with self.opened(url) as store, self.opened(url) as other, asyncio.TaskGroup() as group:
            readers = [group.create_task(seen(one, total)) for one in (store, other)]
            told = [group.create_task(self.written(url, f"p{number}", writers, commits)) for number in range(processes)]
        assert [reader.result() for reader in readers] == [list(range(1, total + 1))] * 2
        assert sorted(seq for one in told for seq in one.result()) == list(range(1, total + 1))

    async def test_of_several_stores_at_once_each_commit_has_its_place_and_its_answer(self, url: str) -> None:
        def telling(id: str) -> Batch:
            tell = Mark("test", id, tell=lambda positions: b"%d" % positions[0])
            return Batch(1.0, (put(id, expected=0),), (tell,))

        async with self.opened(url) as one, self.opened(url) as two, self.opened(url) as three:
            stores = (one, two, three)
            told = await asyncio.gather(*(store.commit(telling(str(n))) for n, store in enumerate(stores * 15)))
            assert sorted(told) == [(seq,) for seq in range(1, 46)]
            for id, (seq,) in enumerate(told):
                mark = await one.marked("test", str(id))
                assert mark is not None
                assert mark.result == b"%d" % seq
            again = await asyncio.gather(*(store.commit(telling("0")) for store in stores), return_exceptions=True)
            assert [type(outcome) for outcome in again] == [AlreadyHandled] * 3
            twice = await asyncio.gather(
                *(store.commit(batch(put("0", expected=0))) for store in stores), return_exceptions=True
            )
            assert [type(outcome) for outcome in twice] == [Conflict] * 3

    async def test_two_stores_that_change_one_row_again_and_again_lose_nothing(self, url: str) -> None:
        async def change(store: S) -> None:
            for _ in range(15):
                await store.commit(batch(put("1", "ink")))

        async with self.opened(url) as one, self.opened(url) as other:
            await asyncio.gather(*(change(store) for store in (one, other) for _ in range(2)))
            entries = (await one.changes(0, limit=200)).entries
            assert [entry.before_rev for entry in entries] == list(range(60))

    async def test_whoever_waits_for_a_store_that_is_torn_down_is_told(self, url: str) -> None:
        async with self.opened(url) as store, self.held_up(url):
            crew = self.crew(store)
            async with asyncio.TaskGroup() as group:
                under_way = group.create_task(_refusal(store, "1"))
                await until(lambda: bool(crew._waiting and crew._waiting._taken))
                waiting = group.create_task(_refusal(store, "2"))
                await asyncio.sleep(0)
                # Until it has ended: drivers may swallow one cancellation.
                await crew._tasks.cancel()
            assert "it is not known whether it took effect" in under_way.result()
            assert "before it wrote this" in waiting.result()

    async def test_one_value_that_cannot_be_stored_does_not_take_its_neighbours_along(self, url: str) -> None:
        async with self.opened(url) as store:
            batches = [batch(put(str(n))) for n in range(6)]
            batches[4] = batch(Put("orders", "deep", b'{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "m"))
            batches[2] = batch(Put("orders", "\ud800", b"{}", "m"))
            batches[3] = Batch(1.0, positions=(Position("far", 2**70),))
            outcomes = await asyncio.gather(*map(store.commit, batches), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [tuple, tuple, Malformed, Malformed, Malformed, tuple]
            assert await store.head() == 3

    async def test_a_commit_that_only_asks_writes_nothing(self, url: str) -> None:
        async with self.opened(url) as store:
            await store.commit(batch(Emit("placed", "1", b"{}", "m")))
            assert await store.commit(batch()) == ()
            with pytest.raises(Fault):
                await store.commit(Batch(1.0, marks=(Mark("a", "b"), Mark("a", "b"))))
            assert await store.head() == 1


async def _refusal(store: Store, id: str) -> str:
    with pytest.raises(Unavailable) as told:
        await store.commit(batch(put(id)))
    return str(told.value)
