"""What a commit promises: all or nothing, expectations, marks, positions, and that none disturbs another."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hanse.kernel.faults import Conflict, Malformed, NotFound, PreconditionFailed
from hanse.store.base import AlreadyHandled, Batch, Expect, Mark, Position, Put, Row, Store
from hanse.store.plan import DEPTH_MAX
from hanse.store.query import Compare, Query
from hanse.testing.store_hooks import StoreHooks, batch, delete, emit, put

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102, PLR2004

MANY = 200
"""Commits at once: more than go into one transaction of any adapter without being so many that a test takes long."""


class CommitTests(StoreHooks):
    """Writes of one commit."""

    async def test_a_row_that_was_written_is_read_back(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            assert await store.load("orders", "1") == Row("1", 1, b'{"sku":"tea"}')

    async def test_a_row_that_was_never_written_is_none(self) -> None:
        async with self.opened() as store:
            assert await store.load("orders", "1") is None

    async def test_the_same_id_in_two_collections_is_two_rows(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), put("1", "ink", collection="notes")))
            assert await store.load("notes", "1") == Row("1", 2, b'{"sku":"ink"}')
            assert await store.load("orders", "1") == Row("1", 1, b'{"sku":"tea"}')

    async def test_an_update_replaces_the_value_and_raises_the_revision(self) -> None:
        async with self.opened() as store:
            (first,) = await store.commit(batch(put("1")))
            (second,) = await store.commit(batch(put("1", "ink", expected=first)))
            assert await store.load("orders", "1") == Row("1", second, b'{"sku":"ink"}')
            assert second > first

    async def test_a_deleted_row_is_gone(self) -> None:
        async with self.opened() as store:
            (rev,) = await store.commit(batch(put("1")))
            await store.commit(batch(delete("1", expected=rev)))
            assert await store.load("orders", "1") is None
            assert (await store.find("orders", Query())).rows == ()

    async def test_a_row_that_comes_back_has_a_higher_revision(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            (gone,) = await store.commit(batch(delete("1")))
            (again,) = await store.commit(batch(put("1", expected=0)))
            assert again > gone

    async def test_positions_of_the_writes_come_back_in_order(self) -> None:
        async with self.opened() as store:
            assert await store.commit(batch(put("1"), emit("1"), put("2"), delete("1"))) == (1, 2, 3, 4)
            assert await store.commit(batch()) == ()

    async def test_ids_and_values_are_kept_to_the_letter(self) -> None:
        async with self.opened() as store:
            value = '{"sku":"\\u0000 \\"ü\\" 😀", "n": 1.50, "big":123456789012345678901234567890}'.encode()
            ids = ["é\x00", "'; --", "😀", "a/b%20"]
            await store.commit(batch(*(Put("orders", id, value, "m") for id in ids)))
            assert [await store.load("orders", id) for id in ids] == [Row(id, n, value) for n, id in enumerate(ids, 1)]


class ExpectationTests(StoreHooks):
    """What refuses a commit, and what is left of it: nothing."""

    async def test_creating_a_row_that_exists_is_a_conflict(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            with pytest.raises(Conflict, match="'1' exists already"):
                await store.commit(batch(put("1", "ink", expected=0)))

    async def test_a_batch_that_rests_on_a_position_is_refused_once_that_has_moved_on(self) -> None:
        async with self.opened() as store:
            moved = msgspec.structs.replace(batch(), positions=(Position("lease", 1),), expects=(Expect("lease", 0),))
            await store.commit(moved)
            await store.commit(msgspec.structs.replace(batch(put("1")), expects=(Expect("lease", 1),)))
            with pytest.raises(PreconditionFailed, match="position 'lease' is at 1, not at 0"):
                await store.commit(msgspec.structs.replace(moved, writes=(put("2"),)))
            assert await store.load("orders", "2") is None
            assert await store.head() == 1

    async def test_of_many_at_once_who_move_a_position_one_does(self) -> None:
        async with self.opened() as store:
            moves = (
                msgspec.structs.replace(
                    batch(put(str(number))), positions=(Position("lease", number),), expects=(Expect("lease", 0),)
                )
                for number in range(1, MANY)
            )
            told = await asyncio.gather(*map(store.commit, moves), return_exceptions=True)
            assert sum(not isinstance(one, PreconditionFailed) for one in told) == 1
            assert await store.count("orders", Query()) == 1

    async def test_updating_a_row_that_has_moved_on_fails_and_says_where_it_is(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), put("1", "ink")))
            with pytest.raises(PreconditionFailed, match="orders '1' is at 2, not at 1"):
                await store.commit(batch(put("1", "oil", expected=1)))

    async def test_updating_a_row_that_is_not_there_fails(self) -> None:
        async with self.opened() as store:
            with pytest.raises(NotFound, match="there is no orders '1'"):
                await store.commit(batch(put("1", expected=7)))

    async def test_deleting_a_row_that_is_not_there_fails(self) -> None:
        async with self.opened() as store:
            with pytest.raises(NotFound, match="there is no orders '1'"):
                await store.commit(batch(delete("1")))

    async def test_deleting_a_row_that_has_moved_on_fails(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            with pytest.raises(PreconditionFailed, match="is at 1, not at 9"):
                await store.commit(batch(delete("1", expected=9)))

    async def test_a_value_that_is_no_json_object_is_refused(self) -> None:
        async with self.opened() as store:
            for value in (b"[]", b"tea", b'{"a":', b'{"a":"\xff"}', b'{"a":1e999}'):
                with pytest.raises(Malformed, match="expected a JSON object"):
                    await store.commit(batch(Put("orders", "1", value, "m")))

    @pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 100_000])
    async def test_a_value_that_is_nested_too_deeply_is_refused_alone(self, depth: int) -> None:
        async with self.opened() as store:
            deep = Put("orders", "1", b'{"sku":' * depth + b"1" + b"}" * depth, "m1")
            refused, taken = await asyncio.gather(
                store.commit(batch(deep)), store.commit(batch(put("2"))), return_exceptions=True
            )
            assert isinstance(refused, Malformed)
            assert "nested" in refused.detail
            assert taken == (1,)

    async def test_a_value_that_is_nested_as_deeply_as_allowed_is_found(self) -> None:
        async with self.opened() as store:
            value = b'{"sku":' + b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1) + b"}"
            await store.commit(batch(Put("orders", "1", value, "m1"), put("2")))
            assert await store.load("orders", "1") == Row("1", 1, value)
            assert await store.count("orders", Query(where=Compare("ne", ("sku",), "tea"))) == 1

    async def test_an_unknown_collection_is_not_found(self) -> None:
        async with self.opened() as store:
            with pytest.raises(NotFound, match="no collection 'carts'"):
                await store.commit(batch(put("1", collection="carts")))
            with pytest.raises(NotFound, match="no collection 'carts'"):
                await store.load("carts", "1")
            with pytest.raises(NotFound, match="no collection 'carts'"):
                await store.find("carts", Query())

    async def test_a_refused_batch_changes_nothing_at_all(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            refused = Batch(
                at=1.0,
                writes=(put("1", "ink"), put("2"), emit("x"), delete("9")),
                marks=(Mark("mailer", "m1"),),
                positions=(Position("mailer", 5),),
            )
            with pytest.raises(NotFound):
                await store.commit(refused)
            assert (await store.find("orders", Query())).rows == (Row("1", 1, b'{"sku":"tea"}'),)
            assert await store.head() == 1
            assert await store.marked("mailer", "m1") is None
            assert await store.position("mailer") == 0

    async def test_a_write_sees_the_writes_before_it_in_its_batch(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1", expected=0), delete("1"), put("1", "ink", expected=0)))
            assert await store.load("orders", "1") == Row("1", 3, b'{"sku":"ink"}')
            with pytest.raises(Conflict):
                await store.commit(batch(put("2", expected=0), put("2", expected=0)))
            assert await store.load("orders", "2") is None

    async def test_a_row_that_comes_and_goes_in_one_batch_leaves_only_its_entries(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1"), delete("1")))
            assert await store.load("orders", "1") is None
            assert await store.head() == 2


class MarkTests(StoreHooks):
    """Marks and positions, kept with the effects that they stand for."""

    async def test_a_mark_is_read_back_with_digest_and_result(self) -> None:
        async with self.opened() as store:
            mark = Mark("orders.place", "key-1", digest=b"\x00\xff", result=b"paid")
            await store.commit(Batch(at=1.0, marks=(mark,)))
            assert await store.marked("orders.place", "key-1") == mark
            assert await store.marked("orders.place", "key-2") is None
            assert await store.marked("mailer", "key-1") is None

    async def test_a_message_that_was_handled_has_no_second_effect(self) -> None:
        async with self.opened() as store:
            mark = Mark("mailer", "m1")
            await store.commit(Batch(at=1.0, writes=(put("1"),), marks=(mark,)))
            with pytest.raises(AlreadyHandled, match="'m1' was handled by mailer already"):
                await store.commit(Batch(at=1.0, writes=(put("2"),), marks=(mark,)))
            assert await store.load("orders", "2") is None

    async def test_one_key_may_be_marked_in_two_scopes(self) -> None:
        async with self.opened() as store:
            await store.commit(Batch(at=1.0, marks=(Mark("mailer", "m1"), Mark("biller", "m1"))))
            assert await store.marked("biller", "m1") == Mark("biller", "m1")

    async def test_a_mark_made_twice_in_one_batch_is_refused(self) -> None:
        async with self.opened() as store:
            with pytest.raises(AlreadyHandled):
                await store.commit(Batch(at=1.0, marks=(Mark("mailer", "m1"), Mark("mailer", "m1"))))
            assert await store.marked("mailer", "m1") is None

    async def test_a_reader_starts_at_zero_and_is_where_it_was_put_last(self) -> None:
        async with self.opened() as store:
            assert await store.position("relay") == 0
            for seq in (5, 9, 2):
                await store.commit(Batch(at=1.0, positions=(Position("relay", seq),)))
                assert await store.position("relay") == seq


class ConcurrencyTests(StoreHooks):
    """Commits in flight together."""

    async def test_a_refused_commit_does_not_disturb_its_neighbours(self) -> None:
        async with self.opened() as store:
            commits = [batch(put(str(n), expected=0 if n % 3 else 99)) for n in range(MANY)]
            outcomes = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
            refused = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, NotFound)]
            assert refused == list(range(0, MANY, 3))
            assert await store.count("orders", Query()) == MANY - len(refused) == await store.head()

    async def test_of_many_who_create_one_row_one_succeeds(self) -> None:
        async with self.opened() as store:
            outcomes = await _all(store, [batch(put("1", str(n), expected=0)) for n in range(MANY)])
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == MANY - 1

    async def test_of_many_who_update_one_revision_one_succeeds(self) -> None:
        async with self.opened() as store:
            await store.commit(batch(put("1")))
            outcomes = await _all(store, [batch(put("1", str(n), expected=1)) for n in range(MANY)])
            assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == MANY - 1

    async def test_of_many_who_handle_one_message_one_succeeds(self) -> None:
        async with self.opened() as store:
            handled = [Batch(at=1.0, writes=(emit(str(n)),), marks=(Mark("mailer", "m1"),)) for n in range(MANY)]
            outcomes = await _all(store, handled)
            assert sum(isinstance(outcome, AlreadyHandled) for outcome in outcomes) == MANY - 1
            assert await store.head() == 1

    async def test_what_a_commit_has_returned_is_seen_by_the_next_read(self) -> None:
        async with self.opened() as store:

            async def write_and_read(id: str) -> bool:
                (rev,) = await store.commit(batch(put(id)))
                row = await store.load("orders", id)
                return row is not None and row.rev == rev and await store.head() >= rev

            assert all(await asyncio.gather(*(write_and_read(str(n)) for n in range(MANY))))

    async def test_a_commit_that_nobody_waits_for_any_more_does_not_disturb_others(self) -> None:
        async with self.opened() as store:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(store.commit(batch(put(str(n))))) for n in range(MANY)]
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
            kept = [task.result()[0] for task in tasks[1::2]]
            assert len(set(kept)) == MANY // 2
            assert await store.commit(batch(put("after"))) == (await store.head(),)


async def _all(store: Store, batches: list[Batch]) -> list[tuple[int, ...] | BaseException]:
    return await asyncio.gather(*map(store.commit, batches), return_exceptions=True)
