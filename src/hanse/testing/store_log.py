"""What the log promises: every write told once, in order, without a gap, for as long as it is kept."""

from __future__ import annotations

import asyncio

from hanse.kernel.message import Headers, Identity
from hanse.store.base import CHANGES_MAX, WINDOW_MAX, Batch, Entry, Mark, Op, Position
from hanse.store.query import Query
from hanse.testing.store_hooks import WAIT_SECONDS, StoreHooks, batch, delete, emit, follow, put

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102, PLR2004


class LogTests(StoreHooks):
    """Entries and how they are read."""

    async def test_entries_tell_what_happened(self) -> None:
        async with self.opened() as store:
            headers = Headers(traceparent="00-1", tags={"booking_ref": "A1"}, identity=Identity("ann"))
            await store.commit(Batch(at=1.5, writes=(put("1"), emit("k")), headers=headers))
            await store.commit(batch(put("1", "ink"), delete("1")))
            tea, ink = b'{"sku":"tea"}', b'{"sku":"ink"}'
            assert (await store.changes(0, limit=10)).entries == (
                Entry(1, 1.5, Op.CREATED, "orders", "1", "put-1-tea", None, tea, 0, headers),
                Entry(2, 1.5, Op.EMITTED, "placed", "k", "emit-k", None, b'{"n":1}', 0, headers),
                Entry(3, 1.0, Op.UPDATED, "orders", "1", "put-1-ink", tea, ink, 1, Headers()),
                Entry(4, 1.0, Op.DELETED, "orders", "1", "delete-1", ink, None, 3, Headers()),
            )

    async def test_an_empty_log_has_no_head_and_no_changes(self) -> None:
        async with self.opened() as store:
            assert await store.head() == 0
            piece = await store.changes(0, limit=10)
            assert (piece.entries, piece.upto, piece.trimmed) == ((), 0, False)

    async def test_marks_and_positions_alone_write_no_entry(self) -> None:
        async with self.opened() as store:
            await store.commit(Batch(at=1.0, marks=(Mark("a", "b"),), positions=(Position("a", 1),)))
            assert await store.head() == 0

    async def test_reading_goes_on_where_it_stopped(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(emit(str(n)) for n in range(5))))
            first = await store.changes(1, limit=2)
            assert ([entry.seq for entry in first.entries], first.upto) == ([2, 3], 3)
            rest = await store.changes(first.upto, limit=10)
            assert ([entry.seq for entry in rest.entries], rest.upto) == ([4, 5], 5)
            assert (await store.changes(5, limit=10)).upto == 5
            assert [(await store.changes(after, limit=2)).more for after in (0, 2, 3, 5)] == [True, True, False, False]

    async def test_entries_of_other_names_are_passed_over(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), emit("x"), emit("y", "paid"), put("2"), emit("z")))
            piece = await store.changes(0, limit=10, names=["placed", "paid"])
            assert ([entry.id for entry in piece.entries], piece.upto) == (["x", "y", "z"], 5)
            piece = await store.changes(0, limit=1, names=["paid"])
            assert ([entry.id for entry in piece.entries], piece.upto) == (["y"], 3)
            assert (await store.changes(0, limit=10, names=["nobody's"])).upto == 5
            assert (await store.changes(0, limit=10, names=[])).upto == 5

    async def test_one_piece_has_a_limit_however_much_is_asked_for(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(emit(str(n)) for n in range(WINDOW_MAX + 1)), emit("last", "paid")))
            assert len((await store.changes(0, limit=10**6)).entries) == CHANGES_MAX
            far = await store.changes(0, limit=10, names=["paid"])
            assert (far.entries, far.upto) == ((), WINDOW_MAX)
            assert [entry.id for entry in (await store.changes(far.upto, limit=10, names=["paid"])).entries] == ["last"]

    async def test_a_reader_beyond_the_end_stays_where_it_is(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            piece = await store.changes(7, limit=10)
            assert (piece.entries, piece.upto, piece.trimmed) == ((), 7, False)

    async def test_a_reader_of_concurrent_commits_sees_each_position_once_and_in_order(self) -> None:
        async with self.opened() as store, asyncio.TaskGroup() as group:
            reader = group.create_task(follow(store, 0, 300))
            for n in range(150):
                group.create_task(store.commit(batch(put(str(n)), emit(str(n)))))
            entries = await reader
            assert [entry.seq for entry in entries] == list(range(1, 301))
            # Both writes of one commit stand together: nobody else's came between.
            assert all(entries[n].id == entries[n + 1].id for n in range(0, 300, 2))

    async def test_each_store_has_a_log_of_its_own(self) -> None:
        async with self.opened() as one, self.opened() as other:
            assert one.log_id
            assert one.log_id != other.log_id


class ListenTests(StoreHooks):
    """Who is woken when."""

    async def test_a_listener_is_woken_after_a_commit(self) -> None:
        async with self.opened() as store:
            woken = asyncio.Event()
            store.listen(woken.set)
            await store.commit(batch(put("1")))
            await asyncio.wait_for(woken.wait(), WAIT_SECONDS)

    async def test_a_listener_that_stopped_is_not_woken(self) -> None:
        async with self.opened() as store:
            woken: list[str] = []
            other = asyncio.Event()
            stop = store.listen(lambda: woken.append("stopped"))
            store.listen(other.set)
            stop()
            stop()
            await store.commit(batch(put("1")))
            await asyncio.wait_for(other.wait(), WAIT_SECONDS)
            assert woken == []

    async def test_a_listener_for_a_name_is_woken_by_it(self) -> None:
        async with self.opened() as store:
            woken = asyncio.Event()
            store.listen(woken.set, names=["placed", "orders"])
            await store.commit(batch(put("1")))
            await asyncio.wait_for(woken.wait(), WAIT_SECONDS)

    async def test_a_woken_reader_finds_every_entry(self) -> None:
        async with self.opened() as store:
            woken, seen = asyncio.Event(), 0
            store.listen(woken.set)
            async with asyncio.TaskGroup() as group:
                for n in range(100):
                    group.create_task(store.commit(batch(put(str(n)))))
                while seen < 100:
                    await asyncio.wait_for(woken.wait(), WAIT_SECONDS)
                    woken.clear()
                    seen = (await store.changes(seen, limit=1000)).upto
            assert seen == await store.head()


class TrimTests(StoreHooks):
    """What is forgotten, and who is told."""

    async def test_old_entries_go_up_to_the_first_that_stays(self) -> None:
        async with self.opened() as store:
            for at in (1.0, 2.0, 9.0, 3.0):
                await store.commit(batch(emit(str(at)), at=at))
            assert await store.trim(5.0, keep_after=4) == 2
            assert [entry.seq for entry in (await store.changes(2, limit=10)).entries] == [3, 4]

    async def test_what_a_reader_still_needs_is_kept(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(emit(str(n)) for n in range(5))))
            assert await store.trim(100.0, keep_after=3) == 3
            assert await store.trim(100.0, keep_after=3) == 0
            assert [entry.seq for entry in (await store.changes(3, limit=10)).entries] == [4, 5]

    async def test_a_reader_that_came_too_late_is_told(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(emit(str(n)) for n in range(5))))
            await store.trim(100.0, keep_after=3)
            assert [(await store.changes(after, limit=10)).trimmed for after in (0, 2, 3, 5)] == [
                True,
                True,
                False,
                False,
            ]
            assert [entry.seq for entry in (await store.changes(0, limit=10)).entries] == [4, 5]

    async def test_rows_stay_and_positions_go_on_when_all_entries_went(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), put("2")))
            assert await store.trim(100.0, keep_after=2) == 2
            assert await store.count("orders", Query()) == 2
            assert await store.head() == 2
            assert await store.commit(batch(put("3"))) == (3,)

    async def test_many_entries_are_forgotten_in_one_call(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(*(emit(str(n)) for n in range(WINDOW_MAX * 2 + 1))))
            assert await store.trim(100.0, keep_after=WINDOW_MAX * 3) == WINDOW_MAX * 2 + 1

    async def test_old_marks_are_forgotten_and_young_ones_kept(self) -> None:
        async with self.opened() as store:
            await store.commit(Batch(at=9.0, marks=(Mark("mailer", "young"),)))
            await store.commit(Batch(at=1.0, marks=(Mark("mailer", "old"),)))
            await store.trim(5.0, keep_after=0)
            assert await store.marked("mailer", "old") is None
            assert await store.marked("mailer", "young") is not None
