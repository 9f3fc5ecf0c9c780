"""How a schema is opened: by many at once, in a newer form, or not at all."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import msgspec
import pytest

from hanse.kernel.faults import CouldNotStart, Misdeclared, Unavailable
from hanse.kernel.host import Host
from hanse.node.stores import stored_in
from hanse.store.base import CollectionSchema, FieldSchema, Inside, Put
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.fold import fold
from hanse.store.postgresql.link import Dialer, Link
from hanse.store.postgresql.query import find_sql
from hanse.store.postgresql.url import parse_url
from hanse.store.query import Compare, Order, Query
from hanse.store.sql import identifier
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

from .server import Server, free_port, started

pytestmark = pytest.mark.timeout(300)


async def opened(url: str, *collections: CollectionSchema) -> PostgresqlStore:
    store = PostgresqlStore(parse_url(url), host=Host.system())
    await store.open(collections or (ORDERS, NOTES))
    return store


async def linked(url: str) -> Link:
    return await Dialer(parse_url(url), Host.system()).dial()


async def test_ten_nodes_that_start_at_once_make_one_store(url: str) -> None:
    stores = await asyncio.gather(*(opened(url) for _ in range(10)))
    positions = await asyncio.gather(*(store.commit(batch(put(str(n)))) for n, store in enumerate(stores)))
    assert sorted(positions) == [(n,) for n in range(1, 11)]
    assert len({store.log_id for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_a_schema_of_something_else_is_refused_and_left_as_it_is(url: str) -> None:
    link = await linked(url)
    place = identifier(parse_url(url).schema)
    await link.execute(f"CREATE SCHEMA {place}; CREATE TABLE {place}.customers (name text)")
    with pytest.raises(CouldNotStart, match="holds tables of something else"):
        await opened(url)
    tables = await link.fetch("SELECT relname FROM pg_class WHERE relnamespace = $1::text::regnamespace", place)
    assert [row[0] for row in tables] == ["customers"]
    await link.close()


async def test_a_schema_that_is_there_and_empty_is_used(url: str) -> None:
    link = await linked(url)
    await link.execute(f"CREATE SCHEMA {identifier(parse_url(url).schema)}")
    await link.close()
    await (await opened(url)).close()


async def test_a_newer_format_is_refused(url: str) -> None:
    await (await opened(url)).close()
    link = await linked(url)
    await link.execute(f"UPDATE {identifier(parse_url(url).schema)}.meta SET value = '2' WHERE name = 'format'")
    await link.close()
    with pytest.raises(CouldNotStart, match="has format 2, written by a newer Hanse"):
        await opened(url)


async def test_a_server_that_forgets_is_refused_unless_that_is_wanted(url: str) -> None:
    with pytest.raises(
        CouldNotStart, match="got fsync=off and synchronous_commit=on; turn both on, or say synchronous"
    ):
        await opened(url.replace("&synchronous=off", ""))


async def test_a_server_that_only_reads_is_refused(url: str) -> None:
    with pytest.raises(CouldNotStart, match="name the primary in the URL"):
        await opened(f"{url}&default_transaction_read_only=on")


async def test_a_database_in_another_encoding_is_refused(url: str) -> None:
    link = await linked(url)
    await link.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    await link.close()
    with pytest.raises(CouldNotStart, match="expected a database in UTF8, got one in LATIN1"):
        await opened(url.replace("/postgres?", "/latin?"))


async def test_a_database_that_is_not_there_and_a_server_that_is_not_there_are_told_apart(url: str) -> None:
    with pytest.raises(CouldNotStart, match='database "nowhere" does not exist; see to user, password and database'):
        await opened(url.replace("/postgres?", "/nowhere?"))
    with pytest.raises(Unavailable, match="is away"):
        await opened(f"postgresql://127.0.0.1:{free_port()}/postgres")


async def test_what_is_declared_wrongly_is_refused_before_anything_is_made(url: str) -> None:
    with pytest.raises(Misdeclared):
        await opened(url, CollectionSchema("orders", {"sku": FieldSchema("colour", required=True)}))
    assert await asyncio.to_thread(stored_in, url) == {}


async def test_what_is_stored_can_be_seen_without_opening_it(url: str) -> None:
    assert stored_in(url) == {}
    await (await opened(url)).close()
    assert stored_in(url) == {"orders": ORDERS, "notes": NOTES}


async def test_a_look_at_what_is_not_a_store_says_so(url: str) -> None:
    link = await linked(url)
    place = identifier(parse_url(url).schema)
    _ = await link.execute(f"CREATE SCHEMA {place}; CREATE TABLE {place}.others (id int)")
    await link.close()
    with pytest.raises(CouldNotStart, match="holds tables of something else"):
        stored_in(url)
    with pytest.raises(Unavailable, match="away"):
        stored_in(f"postgresql://hanse@127.0.0.1:{free_port()}/postgres?schema=a")


async def test_a_collection_that_gets_an_index_gets_it_beside_writers_and_uses_it(url: str) -> None:
    plain = msgspec.structs.replace(ORDERS, indexed=())
    store = await opened(url, plain)
    await store.commit(batch(*(put(str(n), f"sku{n:04}") for n in range(3_000))))
    indexed = await opened(url, ORDERS)
    query = Query(where=Compare("eq", ("sku",), "sku0042"))
    assert [row.id for row in (await indexed.find("orders", query)).rows] == ["42"]
    assert "Index Cond" in await _explained(url, query)
    assert "Index" in await _explained(url, Query(order=(Order(("sku",)),), limit=5))
    await (await opened(url, plain)).close()
    assert "Index Cond" not in await _explained(url, query)
    for one in (store, indexed):
        await one.close()


async def _explained(url: str, query: Query) -> str:
    link = await linked(url)
    place = identifier(parse_url(url).schema)
    await link.execute(f"ANALYZE {place}.rows_orders")
    statement = find_sql(query, ORDERS, None, place)
    plan = await link.fetch(f"EXPLAIN {statement.text}", *statement.values)
    await link.close()
    return "\n".join(str(line[0]) for line in plan)


async def test_an_index_that_was_left_half_built_is_built_anew(url: str) -> None:
    await (await opened(url)).close()
    link = await linked(url)
    place = identifier(parse_url(url).schema)
    broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT min(indexrelid) FROM pg_index x "
    await link.execute(f"{broken} WHERE x.indrelid = '{place}.rows_orders'::regclass AND NOT x.indisprimary)")
    invalid = f"SELECT count(*) FROM pg_index WHERE indrelid = '{place}.rows_orders'::regclass AND NOT indisvalid"
    assert (await link.fetch(invalid))[0][0] == 1
    await (await opened(url)).close()
    assert (await link.fetch(invalid))[0][0] == 0
    await link.close()


THINGS = CollectionSchema("things", {"size": FieldSchema("integer", required=True), "at": FieldSchema("any", True)})
WIDER = CollectionSchema(
    "things",
    {
        "size": FieldSchema("decimal", required=True),
        "at": FieldSchema("any", required=True, inside={"price": Inside("decimal")}),
    },
)


async def test_rows_of_an_older_version_are_found_by_what_a_newer_one_takes_them_for(url: str) -> None:
    old = await opened(url, THINGS)
    values = [b'{"size":%d,"at":{"price":"%d.50"}}' % (n, n) for n in range(1_200)]
    await old.commit(batch(*(Put("things", str(n), value, "m") for n, value in enumerate(values))))
    new = await opened(url, WIDER)
    # The old version still runs, and what it writes is found by the new one as well.
    await old.commit(batch(Put("things", "late", b'{"size":5000,"at":{"price":"7.5"}}', "m")))
    await new.commit(batch(Put("things", "young", b'{"size":"5000.0","at":{"price":"7.500"}}', "m")))
    for store, where, count in (
        (new, Compare("eq", ("size",), "5000.00"), 2),
        (new, Compare("eq", ("at", "price"), "7.50"), 3),
        (new, Compare("ge", ("at", "price"), "1199.5"), 1),
        (old, Compare("ge", ("size",), 1_199), 2),
    ):
        assert await store.count("things", Query(where=where)) == count, where
    for store in (old, new):
        await store.close()


async def test_names_may_be_longer_than_the_database_has_them(url: str) -> None:
    names = ["n" * 80 + end for end in ("a", "b")]
    store = await opened(url, *(CollectionSchema(name, {}) for name in names))
    for name in names:
        await store.commit(batch(put("1", collection=name)))
    assert [await store.count(name, Query()) for name in names] == [1, 1]
    await store.close()


async def test_whoever_closes_leaves_nothing_of_its_own_behind(url: str) -> None:
    store = await opened(url)
    await store.commit(batch(put("1")))
    link = await linked(url)
    writers = f"SELECT count(*) FROM {identifier(parse_url(url).schema)}.writers"
    assert cast("int", (await link.fetch(writers))[0][0]) == 1
    await store.close()
    assert cast("int", (await link.fetch(writers))[0][0]) == 0
    await link.close()


async def test_a_full_table_of_connections_is_told_and_costs_nothing() -> None:
    server: Server = await asyncio.to_thread(
        started, "fsync=off", "max_connections=6", "superuser_reserved_connections=0"
    )
    try:
        url = server.url("few", synchronous="off")
        store = await opened(url)
        taken = [await linked(url) for _ in range(4)]
        with pytest.raises(Unavailable, match="too many clients"):
            await store.load("orders", "1")
        for link in taken:
            await link.close()
        assert await store.commit(batch(put("1"))) == (1,)
        await store.close()
    finally:
        await asyncio.to_thread(server.remove)


async def test_the_database_folds_every_character_as_python_does(url: str) -> None:
    store = await opened(url)
    link = await linked(url)
    characters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[start : start + 500]) for start in range(0, len(characters), 500)]
    place = identifier(parse_url(url).schema)
    statement = f"SELECT {place}.{fold().name}(text) FROM unnest($1::text[]) WITH ORDINALITY AS t (text, n) ORDER BY n"
    found = [row[0] for row in await link.fetch(statement, [*texts, "ASCII only"], timeout=60)]
    assert found == [text.casefold() for text in [*texts, "ASCII only"]]
    await link.close()
    await store.close()
