"""How a store on a server is opened: by many at once, in a newer form, or not at all."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import suppress
from typing import ClassVar

import msgspec
import pytest
from tests.transport.process import free_port

from hanse.kernel.faults import CouldNotStart, Misdeclared, Unavailable
from hanse.node.stores import stored_in
from hanse.store.base import CollectionSchema, FieldSchema, Inside, Put
from hanse.store.query import Compare, Order, Query
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

from .on_server import OnServer, S
from .proxy import between
from .server import StoreServer

THINGS = CollectionSchema("things", {"size": FieldSchema("integer", required=True), "at": FieldSchema("any", True)})
WIDER = CollectionSchema(
    "things",
    {
        "size": FieldSchema("decimal", required=True),
        "at": FieldSchema("any", required=True, inside={"price": Inside("decimal")}),
        "colour": FieldSchema("string", required=False, default=b'"green"'),
    },
)


class OpeningOnServer(OnServer[S]):
    """Derive from it.

    Attributes:
        nodes: That open a store at once.
        opening_steps: How many answers come to an opening until the connection breaks.
        nowhere: A store on a server that is not there, but for its port.
        name_length: Of a collection, more than the database has.
        rows: As many as make a difference, in several pieces.
    """

    nodes: ClassVar[int] = 10
    opening_steps: ClassVar[range] = range(1, 14)
    nowhere: ClassVar[str]
    name_length: ClassVar[int]
    rows: ClassVar[int] = 1_200

    @abstractmethod
    async def write_format(self, url: str, version: str) -> None:
        """Have a store be of another version."""

    @abstractmethod
    async def writers(self, url: str) -> int:
        """Who has written to a store, as it knows."""

    @abstractmethod
    async def goes_by_index(self, url: str, query: Query) -> bool:
        """Whether orders are found without looking at all of them."""

    async def test_nodes_that_start_at_once_make_one_store(self, url: str) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one_of_many(url, number)) for number in range(self.nodes)]
        log_ids, positions = zip(*(task.result() for task in tasks), strict=True)
        assert len(set(log_ids)) == 1
        assert sorted(positions) == [(n,) for n in range(1, self.nodes + 1)]

    async def _one_of_many(self, url: str, number: int) -> tuple[str, tuple[int, ...]]:
        # Each with a collection that the others do not know.
        async with self.opened(url, ORDERS, CollectionSchema(f"own{number}", {})) as store:
            return store.log_id, await store.commit(batch(put(str(number))))

    async def test_a_connection_that_breaks_amid_an_opening_leaves_nothing_half(
        self, url: str, quick_server: StoreServer
    ) -> None:
        async with between(quick_server.port) as proxy:
            for step in self.opening_steps:
                proxy.cut_at("answered", step)
                with suppress(Unavailable):
                    await self.opens(self.behind(proxy, url))
            assert proxy.cuts == len(self.opening_steps)
        async with self.opened(url) as store:
            assert await store.commit(batch(put("1"))) == (1,)

    async def test_a_newer_format_is_refused(self, url: str) -> None:
        await self.opens(url)
        await self.write_format(url, "2")
        with pytest.raises(CouldNotStart, match="has format 2, written by a newer Hanse"):
            await self.opens(url)

    async def test_a_server_that_is_not_there_is_away(self) -> None:
        url = self.nowhere.format(port=free_port())
        with pytest.raises(Unavailable, match="is away"):
            await self.opens(url)
        with pytest.raises(Unavailable, match="is away"):
            await asyncio.to_thread(stored_in, url)

    async def test_what_is_declared_wrongly_is_refused_before_anything_is_made(self, url: str) -> None:
        with pytest.raises(Misdeclared):
            await self.opens(url, CollectionSchema("orders", {"sku": FieldSchema("colour", required=True)}))
        assert await asyncio.to_thread(stored_in, url) == {}

    async def test_what_is_stored_can_be_seen_without_opening_it(self, url: str) -> None:
        assert stored_in(url) == {}
        await self.opens(url)
        assert stored_in(url) == {"orders": ORDERS, "notes": NOTES}

    async def test_whoever_closes_leaves_nothing_of_its_own_behind(self, url: str) -> None:
        async with self.opened(url) as store:
            await store.commit(batch(put("1")))
            assert await self.writers(url) == 1
        assert await self.writers(url) == 0

    async def test_names_may_be_longer_than_the_database_has_them(self, url: str) -> None:
        names = ["n" * self.name_length + end for end in ("a", "b")]
        async with self.opened(url, *(CollectionSchema(name, {}) for name in names)) as store:
            for name in names:
                await store.commit(batch(put("1", collection=name)))
            assert [await store.count(name, Query()) for name in names] == [1, 1]

    async def test_a_collection_that_gets_an_index_uses_it_until_nobody_declares_it(self, url: str) -> None:
        plain, query = msgspec.structs.replace(ORDERS, indexed=()), Query(where=Compare("eq", ("sku",), "sku0042"))
        async with self.opened(url, plain) as store:
            await store.commit(batch(*(put(str(n), f"sku{n:04}") for n in range(self.rows))))
            assert not await self.goes_by_index(url, query)
            async with self.opened(url, ORDERS) as indexed:
                assert [row.id for row in (await indexed.find("orders", query)).rows] == ["42"]
                assert await self.goes_by_index(url, query)
                assert await self.goes_by_index(url, Query(order=(Order(("sku",)),), limit=5))
            await self.opens(url, plain)
            assert not await self.goes_by_index(url, query)

    async def test_rows_of_an_older_version_are_found_by_what_a_newer_one_takes_them_for(self, url: str) -> None:
        values = [b'{"size":%d,"at":{"price":"%d.50"}}' % (n, n) for n in range(self.rows)]
        green = msgspec.structs.replace(WIDER.fields["colour"], default=b'"blue"')
        newest = msgspec.structs.replace(WIDER, fields={**WIDER.fields, "colour": green})
        async with self.opened(url, THINGS) as old:
            await old.commit(batch(*(Put("things", str(n), value, "m") for n, value in enumerate(values))))
            async with self.opened(url, WIDER) as new:
                # The old version still runs, and what it writes is found by the new one as well.
                await old.commit(batch(Put("things", "late", b'{"size":5000,"at":{"price":"7.5"}}', "m")))
                young = b'{"size":"5000.0","at":{"price":"7.500"},"colour":"red"}'
                await new.commit(batch(Put("things", "young", young, "m")))
                for store, where, count in (
                    (new, Compare("eq", ("size",), "5000.00"), 2),
                    (new, Compare("eq", ("at", "price"), "7.50"), 3),
                    (new, Compare("ge", ("at", "price"), f"{self.rows - 1}.5"), 1),
                    (new, Compare("eq", ("colour",), "green"), self.rows + 1),
                    (old, Compare("ge", ("size",), self.rows - 1), 2),
                ):
                    assert await store.count("things", Query(where=where)) == count, where
                async with self.opened(url, newest) as third:
                    # Whose default it is depends on who asks.
                    assert await third.count("things", Query(where=Compare("eq", ("colour",), "blue"))) == self.rows + 1
                    assert await new.count("things", Query(where=Compare("eq", ("colour",), "green"))) == self.rows + 1

    async def test_another_version_of_the_service_that_comes_beside_disturbs_nobody(self, url: str) -> None:
        wider = CollectionSchema("more", {"size": FieldSchema("integer", required=True)})
        async with self.opened(url) as store:
            await store.commit(batch(put("1")))
            async with self.opened(url, ORDERS, NOTES, wider) as other:
                assert await store.commit(batch(put("2", expected=0))) == (2,)
                assert await store.commit(batch(put("1", "ink"))) == (3,)
                assert await other.commit(batch(put("3"))) == (4,)
