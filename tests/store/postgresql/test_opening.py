"""How a schema of PostgreSQL is opened: by many at once, in a newer form, or not at all."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from typing import ClassVar, cast

import msgspec
import pytest
from tests.store.opening_suite import THINGS, WIDER, OpeningOnServer
from tests.store.proxy import Side, between

from hanse.kernel.faults import CouldNotStart, Unavailable
from hanse.node.stores import stored_in
from hanse.store.base import Put
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.fold import fold
from hanse.store.postgresql.query import find_sql
from hanse.store.postgresql.tables import INDEX_TRIES_MAX
from hanse.store.query import Query
from hanse.testing.store_hooks import ORDERS, batch, put

from .helpers import OnPostgresql, linked, opened, opens
from .server import Server, started

pytestmark = pytest.mark.timeout(300)


class TestOpening(OnPostgresql, OpeningOnServer[PostgresqlStore]):
    nowhere: ClassVar[str] = "postgresql://hanse@127.0.0.1:{port}/postgres?schema=a"
    name_length: ClassVar[int] = 80
    # As many as PostgreSQL would rather find by an index.
    rows: ClassVar[int] = 3_000

    async def write_format(self, url: str, version: str) -> None:
        async with linked(url) as (link, place):
            await link.execute(f"UPDATE {place}.meta SET value = '{version}' WHERE name = 'format'")

    async def writers(self, url: str) -> int:
        async with linked(url) as (link, place):
            return cast("int", (await link.fetch(f"SELECT count(*) FROM {place}.writers"))[0][0])

    async def goes_by_index(self, url: str, query: Query) -> bool:
        async with linked(url) as (link, place):
            await link.execute(f"ANALYZE {place}.rows_orders")
            statement = find_sql(query, ORDERS, None, place)
            plan = await link.fetch(f"EXPLAIN {statement.text}", *statement.values)
        return "Index" in "\n".join(str(line[0]) for line in plan)


async def test_a_schema_of_something_else_is_refused_and_left_as_it_is(url: str) -> None:
    async with linked(url) as (link, place):
        await link.execute(f"CREATE SCHEMA {place}; CREATE TABLE {place}.customers (name text)")
        with pytest.raises(CouldNotStart, match="holds tables of something else"):
            await opens(url)
        with pytest.raises(CouldNotStart, match="holds tables of something else"):
            stored_in(url)
        tables = await link.fetch("SELECT relname FROM pg_class WHERE relnamespace = $1::text::regnamespace", place)
        assert [row[0] for row in tables] == ["customers"]


async def test_a_schema_that_is_there_and_empty_is_used(url: str) -> None:
    async with linked(url) as (link, place):
        await link.execute(f"CREATE SCHEMA {place}")
    await opens(url)


async def test_a_server_that_forgets_is_refused_unless_that_is_wanted(url: str) -> None:
    with pytest.raises(
        CouldNotStart, match="got fsync=off and synchronous_commit=on; turn both on, or say synchronous"
    ):
        await opens(url.replace("&synchronous=off", ""))


@pytest.mark.parametrize("side", ["asked", "answered"])
async def test_a_connection_that_breaks_as_it_is_made_is_made_anew(url: str, quick_server: Server, side: Side) -> None:
    async with between(quick_server.port) as proxy:
        proxy.cut_at(side, 1)
        async with linked(proxy.url(url)) as (link, _):
            assert (await link.fetch("SELECT 1"))[0][0] == 1
        assert proxy.cuts == 1


async def test_a_server_that_only_reads_is_refused(url: str) -> None:
    with pytest.raises(CouldNotStart, match="name the primary in the URL"):
        await opens(f"{url}&default_transaction_read_only=on")


async def test_a_database_in_another_encoding_is_refused(url: str) -> None:
    async with linked(url) as (link, _):
        await link.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(CouldNotStart, match="expected a database in UTF8, got one in LATIN1"):
        await opens(url.replace("/postgres?", "/latin?"))


async def test_a_database_that_is_not_there_is_told_from_a_server_that_is_not(url: str) -> None:
    with pytest.raises(CouldNotStart, match='database "nowhere" does not exist; see to user, password and database'):
        await opens(url.replace("/postgres?", "/nowhere?"))


async def test_an_index_that_was_left_half_built_is_built_anew(url: str) -> None:
    await opens(url)
    async with linked(url) as (link, place):
        broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT min(indexrelid) FROM pg_index x "
        await link.execute(f"{broken} WHERE x.indrelid = '{place}.rows_orders'::regclass AND NOT x.indisprimary)")
        invalid = f"SELECT count(*) FROM pg_index WHERE indrelid = '{place}.rows_orders'::regclass AND NOT indisvalid"
        assert (await link.fetch(invalid))[0][0] == 1
        await opens(url)
        assert (await link.fetch(invalid))[0][0] == 0


LOSING = """
CREATE SEQUENCE tries;
CREATE FUNCTION lose() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF;
END $$;
CREATE EVENT TRIGGER lose ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION lose();
"""
"""As with two who build for one table, and are told so many times that they wait for each other."""


@pytest.mark.parametrize("times", [INDEX_TRIES_MAX - 1, INDEX_TRIES_MAX])
async def test_an_index_that_others_are_in_the_way_of_is_tried_again_a_few_times(url: str, times: int) -> None:
    await opens(url, msgspec.structs.replace(ORDERS, indexed=()))
    async with linked(url) as (link, _):
        _ = await link.execute(LOSING.format(times=times))
        try:
            if times < INDEX_TRIES_MAX:
                await opens(url, ORDERS)
            else:
                with pytest.raises(Unavailable, match="deadlock"):
                    await opens(url, ORDERS)
        finally:
            _ = await link.execute("DROP EVENT TRIGGER lose; DROP FUNCTION lose; DROP SEQUENCE tries")
    # Whoever comes next builds what is missing.
    await opens(url, ORDERS)


async def test_rows_that_cannot_be_read_keep_a_newer_version_from_opening_and_nobody_else_from_writing(
    url: str,
) -> None:
    async with opened(url, THINGS) as old, linked(url) as (link, place):
        await old.commit(batch(Put("things", "1", b'{"size":1,"at":2}', "m")))
        _ = await link.execute(f"UPDATE {place}.rows_things SET value = '{{'")
        with pytest.raises(msgspec.DecodeError):
            await opens(url, WIDER)
        assert await old.commit(batch(Put("things", "1", b'{"size":1,"at":2}', "m"))) == (2,)
    await opens(url, WIDER)


@contextmanager
def small() -> Generator[Server]:
    """A server for a handful of connections."""
    one = started("fsync=off", "max_connections=6", "superuser_reserved_connections=0")
    try:
        yield one
    finally:
        one.remove()


async def test_a_full_table_of_connections_is_told_and_costs_nothing() -> None:
    with small() as server:
        url = server.store("few")
        async with opened(url) as store:
            async with AsyncExitStack() as taken:
                for _ in range(4):
                    await taken.enter_async_context(linked(url))
                with pytest.raises(Unavailable, match="too many clients"):
                    await store.load("orders", "1")
            assert await store.commit(batch(put("1"))) == (1,)


async def test_the_database_folds_every_character_as_python_does(url: str) -> None:
    await opens(url)
    characters = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[start : start + 500]) for start in range(0, len(characters), 500)]
    async with linked(url) as (link, place):
        folded = f"SELECT {place}.{fold().name}(text) FROM unnest($1::text[]) WITH ORDINALITY AS t (text, n) ORDER BY n"
        found = [row[0] for row in await link.fetch(folded, [*texts, "ASCII only"], timeout=60)]
    assert found == [text.casefold() for text in [*texts, "ASCII only"]]
