"""The conformance suite of stores: every promise of `hanse.store.base`, as tests.

An adapter is finished when it passes with no test skipped that its `Features` do not explain:

    class TestMyStore(StoreSuite):
        async def make(self) -> Store:
            return MyStore(...)

Run it with pytest and pytest-asyncio; `reopen` and `beside` are needed where the features say `durable` and `shared`.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from hanse.kernel.faults import CouldNotStart, Misdeclared, Unavailable
from hanse.store.base import Batch, CollectionSchema, FieldSchema, Mark, Position, Put, Row, Store
from hanse.store.query import Compare, Query
from hanse.testing.store_commits import CommitTests, ConcurrencyTests, ExpectationTests, MarkTests
from hanse.testing.store_dump import DumpTests
from hanse.testing.store_find import FindTests
from hanse.testing.store_hooks import NOTES, ORDERS, WAIT_SECONDS, StoreHooks, batch, emit, follow, put
from hanse.testing.store_log import ListenTests, LogTests, TrimTests

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

_COLOUR = FieldSchema("string", required=False, default=b'"green"')


def _orders_with(**fields: FieldSchema) -> CollectionSchema:
    return msgspec.structs.replace(ORDERS, fields={**ORDERS.fields, **fields})


class LifeTests(StoreHooks):
    """Opening, closing, and opening again."""

    async def test_a_closed_store_says_so(self) -> None:
        async with self.opened() as store:
            await store.close()
            for verb in (
                lambda: store.load("orders", "1"),
                lambda: store.find("orders", Query()),
                lambda: store.count("orders", Query()),
                lambda: store.commit(batch(put("1"))),
                store.head,
                lambda: store.changes(0, limit=1),
                lambda: store.marked("a", "b"),
                lambda: store.position("a"),
                lambda: store.trim(0.0, keep_after=0),
            ):
                with pytest.raises(Unavailable, match="closed"):
                    await verb()

    async def test_a_store_that_was_never_opened_closes(self) -> None:
        store = await self.make()
        await store.close()

    async def test_closing_finishes_the_commits_in_flight(self) -> None:
        async with self.opened() as store:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(store.commit(batch(put(str(n))))) for n in range(50)]
                await asyncio.sleep(0)
                await store.close()
            assert sorted(task.result() for task in tasks) == [(n,) for n in range(1, 51)]

    async def test_a_wrong_declaration_is_refused(self) -> None:
        store = await self.make()
        for schema, why in (
            (_orders_with(size=FieldSchema("colour", required=False)), "expected one of the types"),
            (_orders_with(size=FieldSchema("string", required=False, default=b"{")), "expected a default in JSON"),
            (msgspec.structs.replace(ORDERS, indexed=("size",)), "expected indexed fields to be declared"),
        ):
            with pytest.raises(Misdeclared, match=why):
                await store.open([schema])
        await store.close()

    async def test_collections_may_have_any_name(self) -> None:
        names = ["Orders", "orders", "a b", 'quote"s', "ünïcode", "select", "x.y-z_1"]
        async with self.opened(*(CollectionSchema(name, {}) for name in names)) as store:
            await store.commit(batch(*(put(name, collection=name) for name in names)))
            assert [await store.count(name, Query()) for name in names] == [1] * len(names)

    async def test_all_that_was_committed_is_there_again(self) -> None:
        async with self.opened() as store:
            await self._require(durable=True, of=store)
            await store.commit(Batch(1.0, (put("1"), emit("k")), (Mark("a", "b", b"d", b"r"),), (Position("p", 4),)))
            entries = (await store.changes(0, limit=10)).entries
            await store.close()
            again = await self._reopened(store, ORDERS, NOTES)
            assert await again.load("orders", "1") == Row("1", 1, b'{"sku":"tea"}')
            assert (await again.changes(0, limit=10)).entries == entries
            assert await again.marked("a", "b") == Mark("a", "b", b"d", b"r")
            assert (await again.position("p"), await again.head()) == (4, 2)
            assert again.log_id == store.log_id
            await again.close()

    async def test_a_trimmed_log_is_trimmed_after_opening_again(self) -> None:
        async with self.opened() as store:
            await self._require(durable=True, of=store)
            await store.commit(batch(emit("1"), emit("2")))
            await store.trim(100.0, keep_after=2)
            await store.close()
            again = await self._reopened(store, ORDERS, NOTES)
            assert (await again.changes(0, limit=10)).trimmed
            assert await again.commit(batch(emit("3"))) == (3,)
            await again.close()

    async def test_a_new_field_with_a_default_needs_no_migration(self) -> None:
        async with self.opened() as store:
            await self._require(durable=True, of=store)
            await store.commit(batch(put("1")))
            await store.close()
            wanted = msgspec.structs.replace(_orders_with(colour=_COLOUR), indexed=("colour",))
            again = await self._reopened(store, wanted)
            assert await again.count("orders", Query(where=Compare("eq", ("colour",), "green"))) == 1
            await again.close()

    async def test_rows_that_cannot_be_read_are_refused_and_left_as_they_are(self) -> None:
        async with self.opened() as store:
            await self._require(durable=True, of=store)
            await store.commit(batch(put("1")))
            await store.close()
            for wanted, why in (
                (_orders_with(sku=FieldSchema("integer", required=False)), "sku: stored as string, now integer"),
                (_orders_with(size=FieldSchema("string", required=True)), "give it a default"),
            ):
                with pytest.raises(CouldNotStart, match=why):
                    await self._reopened(store, wanted)
            again = await self._reopened(store, ORDERS)
            assert await again.load("orders", "1") == Row("1", 1, b'{"sku":"tea"}')
            await again.close()

    async def test_a_removed_field_is_remembered(self) -> None:
        async with self.opened() as store:
            await self._require(durable=True, of=store)
            await store.close()
            await (await self._reopened(store, CollectionSchema("orders", {}))).close()
            with pytest.raises(CouldNotStart, match="sku: stored as string"):
                await self._reopened(store, _orders_with(sku=FieldSchema("boolean", required=False)))

    async def _reopened(self, store: Store, *collections: CollectionSchema) -> Store:
        again = await self.reopen(store)
        await again.open(collections)
        return again

    async def _require(self, *, of: Store, durable: bool = False, shared: bool = False) -> None:
        if (durable and not of.features.durable) or (shared and not of.features.shared):
            await of.close()
            pytest.skip("the store's features say that it does not promise this")


class SharedTests(LifeTests):
    """Two processes on one store."""

    async def test_what_one_process_commits_the_other_reads(self) -> None:
        async with self.opened() as one:
            await self._require(shared=True, of=one)
            other = await self._beside(one)
            (rev,) = await one.commit(batch(put("1")))
            assert await other.load("orders", "1") == Row("1", rev, b'{"sku":"tea"}')
            assert other.log_id == one.log_id
            await other.close()

    async def test_positions_of_two_processes_never_collide(self) -> None:
        async with self.opened() as one:
            await self._require(shared=True, of=one)
            other = await self._beside(one)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(store.commit(batch(Put("orders", f"{n}", b"{}", "m"), emit(f"{n}"))))
                    for n in range(100)
                    for store in (one, other)
                ]
                reader = group.create_task(follow(other, 0, 400))
            assert sorted(seq for task in tasks for seq in task.result()) == list(range(1, 401))
            assert [entry.seq for entry in reader.result()] == list(range(1, 401))
            await other.close()

    async def test_a_listener_hears_of_commits_of_another_process(self) -> None:
        async with self.opened() as one:
            await self._require(shared=True, of=one)
            other = await self._beside(one)
            woken = asyncio.Event()
            other.listen(woken.set)
            for n in range(2):
                await one.commit(batch(put(str(n))))
                await asyncio.wait_for(woken.wait(), WAIT_SECONDS)
                woken.clear()
            await other.close()

    async def _beside(self, store: Store) -> Store:
        other = await self.beside(store)
        await other.open((ORDERS, NOTES))
        return other


class StoreSuite(
    CommitTests,
    ExpectationTests,
    MarkTests,
    ConcurrencyTests,
    FindTests,
    LogTests,
    ListenTests,
    TrimTests,
    SharedTests,
    DumpTests,
):
    """All promises of a store. Subclass it and give it a `make`."""
