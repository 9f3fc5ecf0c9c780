"""Searches by indexes over more rows than come at once, and how indexes come and go."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from hanse.store.base import CollectionSchema, FieldSchema, Put, Row
from hanse.store.evaluate import Value, page, predicate
from hanse.store.query import And, Compare, OneOf, Order, Query, Text, Where
from hanse.store.redis import RedisStore
from hanse.store.redis.link import Link
from hanse.testing.store_hooks import NOTES, ORDERS, batch, delete, put

from .helpers import linked, opened

pytestmark = pytest.mark.timeout(120)

ROWS = 800
PARTS = CollectionSchema(
    "parts",
    {
        "size": FieldSchema("integer", required=False),
        "name": FieldSchema("string", required=False, default=b'"nobody"'),
        "price": FieldSchema("decimal", required=False),
        "note": FieldSchema("string", required=False),
    },
    indexed=("size", "name", "price"),
)


def value_of(number: int) -> dict[str, object]:
    """Many rows of one size, some without any; names with what has a meaning elsewhere; a few prices."""
    found: dict[str, object] = {"note": f"n{number % 7}"}
    if number % 11:
        found["size"] = number % 2 if number % 5 else -number
    if number % 3:
        found["name"] = f"a{number % 4}\x00b" if number % 2 else f"a{number}"
    if not number % 13:
        found["price"] = f"{number}.50"
    return found


WHERE: list[Where | None] = [
    None,
    Compare("eq", ("size",), 1),
    Compare("eq", ("size",), None),
    Compare("gt", ("size",), -500),
    Compare("le", ("size",), 0),
    Compare("lt", ("price",), "100.5"),
    Compare("ge", ("price",), "700.500"),
    Compare("eq", ("name",), "nobody"),
    Compare("eq", ("price",), "nothing"),
    Compare("ne", ("size",), 1),
    OneOf(("name",), ("a1\x00b", "a7", "a2\x00b", None)),
    OneOf(("name",), ()),
    Text("starts", ("name",), "a1"),
    Text("starts", ("name",), "A1", fold=True),
    Text("starts", ("price",), "1"),
    And((Compare("ge", ("size",), 0), Compare("eq", ("note",), "n3"), Compare("eq", ("name",), "nobody"))),
    Compare("lt", ("size",), None),
]
ORDERS_OF: list[tuple[Order, ...]] = [
    (),
    (Order(("size",)),),
    (Order(("size",), descending=True),),
    (Order(("name",), descending=True),),
    (Order(("note",)), Order(("size",))),
]


async def filled(store: RedisStore) -> list[tuple[Row, Value]]:
    values = {f"{number:04}": msgspec.json.encode(value_of(number)) for number in range(ROWS)}
    revs = await store.commit(batch(*(Put("parts", id, value, "m") for id, value in values.items())))
    rows = [Row(id, rev, value) for rev, (id, value) in zip(revs, values.items(), strict=True)]
    return [(row, {**msgspec.json.decode(row.value), "id": row.id, "rev": row.rev}) for row in rows]


async def test_pages_by_an_index_are_those_of_the_reference(url: str) -> None:
    async with opened(url, PARTS) as store:
        rows = await filled(store)
        for where, order in itertools.product(WHERE, ORDERS_OF):
            query = Query(where=where, order=order, limit=170)
            found, expected = await store.find("parts", query), page(rows, query, PARTS)
            for _ in range(3):
                assert found == expected, query
                if found.next is None:
                    break
                query = msgspec.structs.replace(query, cursor=found.next)
                found, expected = await store.find("parts", query), page(rows, query, PARTS)
        for where in WHERE:
            test = predicate(where, PARTS)
            assert await store.count("parts", Query(where=where)) == sum(test(value) for _, value in rows), where


async def reads(link: Link) -> int:
    """How often rows were read, since the server began."""
    info = await link.ask(b"INFO", b"commandstats")
    assert isinstance(info, bytes)
    return int((info.partition(b"cmdstat_hmget:calls=")[2].partition(b",")[0]) or 0)


async def test_an_index_spares_looking_at_all_rows(url: str) -> None:
    async with opened(url, PARTS) as store, linked(url) as (link, _):
        await filled(store)
        assert await store.load("parts", "0000"), "there is a connection for reads"
        by_size = (Order(("size",), descending=True),)
        for query, most in (
            (Query(where=Compare("eq", ("price",), "650.5"), order=(Order(("note",)),)), 1),
            (Query(where=Compare("lt", ("price",), "30")), 1),
            (Query(order=by_size, limit=10), 1),
            (Query(where=OneOf(("id",), ("0001", "0002"))), 1),
            (Query(limit=10), 1),
        ):
            before = await reads(link)
            assert (await store.find("parts", query)).rows
            assert await reads(link) - before <= most, query
        before = await reads(link)
        await store.find("parts", Query(order=(Order(("note",)),)))
        assert await reads(link) - before >= ROWS / 500


async def members(link: Link, url: str) -> dict[bytes, int]:
    """How many rows are in each index."""
    async with linked(url) as (_, dialer):
        found = await link.ask(b"HKEYS", dialer.names.indexes)
        assert isinstance(found, list)
        return {name: int(str(await link.ask(b"ZCARD", dialer.names.key(name.decode())))) for name in found}


async def test_an_index_is_built_beside_writers_kept_by_all_and_dropped(url: str) -> None:
    plain = msgspec.structs.replace(ORDERS, indexed=())
    tea = Query(where=Compare("eq", ("sku",), "tea"), limit=5)
    async with opened(url, plain, NOTES) as store, linked(url) as (link, _):
        await store.commit(batch(*(put(str(n), f"sku{n:04}") for n in range(1_200))))
        over = asyncio.Event()

        async def write() -> int:
            number = 0
            while not over.is_set() or number < 20:
                await store.commit(batch(put(str(number % 1_200), "tea"), put(f"new{number}", "ink")))
                number += 1
            return number

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write())
            async with opened(url, ORDERS, NOTES) as indexed:
                over.set()
                written = await writing
                # The writer knows of no index, and keeps both all the same.
                assert set((await members(link, url)).values()) == {1_200 + written}
                await store.commit(batch(put("1", "oil"), delete("7")))
                assert await indexed.count("orders", tea) == await store.count("orders", tea)
                assert [row.id for row in (await indexed.find("orders", tea)).rows][:2] == ["0", "10"]
                assert await indexed.count("orders", Query(where=Compare("eq", ("sku",), "oil"))) == 1
                # One that needs them no more lets them go, under whoever still goes by them.
                async with opened(url, plain, NOTES):
                    assert await members(link, url) == {}
                assert await indexed.count("orders", Query(where=Compare("eq", ("sku",), "oil"))) == 1
                found = await indexed.find("orders", Query(order=(Order(("sku",), descending=True),), limit=1))
                assert found.rows[0].value == b'{"sku":"tea"}'


async def test_an_index_that_was_left_half_built_is_built_anew(url: str) -> None:
    async with opened(url) as store:
        await store.commit(batch(*(put(str(n)) for n in range(9))))
    async with linked(url) as (link, dialer):
        found = await link.ask(b"HGETALL", dialer.names.indexes)
        assert isinstance(found, dict)
        for name, index in found.items():
            await link.ask(b"HSET", dialer.names.indexes, name, index.replace(b'"ready":true', b'"ready":false'))
            await link.ask(b"DEL", dialer.names.key(name.decode()))
        async with opened(url) as again:
            assert set((await members(link, url)).values()) == {9}
            assert await again.count("orders", Query(where=Compare("eq", ("sku",), "tea"))) == 9


async def test_a_field_that_gets_a_wider_type_gets_another_index_while_the_old_version_runs(url: str) -> None:
    wider = msgspec.structs.replace(PARTS, fields={**PARTS.fields, "size": FieldSchema("decimal", required=False)})
    async with opened(url, PARTS) as old:
        await filled(old)
        before = await old.count("parts", Query(where=Compare("le", ("size",), 0)))
        async with opened(url, wider) as new:
            await old.commit(batch(Put("parts", "late", b'{"size":-7}', "m")))
            await new.commit(batch(Put("parts", "young", b'{"size":"-7.0"}', "m")))
            assert await new.count("parts", Query(where=Compare("le", ("size",), "0"))) == before + 2
            assert await old.count("parts", Query(where=Compare("le", ("size",), 0))) == before + 1
