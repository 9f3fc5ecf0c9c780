"""Indexes that resources declare, and how SQLite says that it will look for the pages of a list.

What it says is asked of the statements that the store itself makes, from what a URL asks.
"""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from hanse.contract.model import NamedMeta, Resource, indexed_of
from hanse.gateway.filters import asked
from hanse.kernel.faults import Misdeclared
from hanse.service.shape import schema_of
from hanse.store.base import Batch, Put
from hanse.store.cursor import decode_cursor
from hanse.store.query import Query
from hanse.store.sql import Statement
from hanse.store.sqlite import InlineDesk, SqliteStore
from hanse.store.sqlite.query import count_sql, find_sql


class Place(Resource, indexed=("region", "people"), rename={"region": "Region"}):
    region: str
    country: str = ""
    people: int = 0


@pytest.mark.parametrize(
    ("indexed", "why"),
    [
        (("nam",), "the fields of Wrong: name; got 'nam'"),
        (("id",), "an id is found without an index"),
        ("name", r"a tuple such as indexed=\('name',\)"),
    ],
)
def test_a_field_that_is_not_there_cannot_be_indexed(indexed: object, why: str) -> None:
    with pytest.raises(Misdeclared, match=why):
        NamedMeta("Wrong", (Resource,), {"__annotations__": {"name": str}}, indexed=indexed)


def test_fields_are_indexed_under_the_names_of_json() -> None:
    assert indexed_of(Place) == schema_of(Place).indexed == ("Region", "people")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "places.db", desk=InlineDesk())
    await store.open([schema_of(Place)])
    rows = [(f"{n:03}", b'{"Region":"%b","country":"x","people":%d}' % (b"ab"[n % 2 :][:1], n)) for n in range(40)]
    await store.commit(Batch(at=0.0, writes=tuple(Put("places", id, value, id) for id, value in rows)))
    yield store
    await store.close()


def plan(store: SqliteStore, query: Query) -> list[str]:
    """What SQLite will do for a page, line by line."""
    schema = schema_of(Place)
    start = None if query.cursor is None else decode_cursor(query.cursor, query, schema)
    return explained(store, find_sql(query, schema, start))


def explained(store: SqliteStore, statement: Statement) -> list[str]:
    connection = cast("sqlite3.Connection", cast("Any", store)._writer.connection)
    lines = connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.values).fetchall()
    return [line[3] for line in lines]


async def pages(store: SqliteStore, url: str) -> list[list[str]]:
    """The plans of the first page and of a later one."""
    first = asked(Place, url).query
    found = await store.find("places", first)
    assert found.next is not None
    return [plan(store, first), plan(store, asked(Place, f"{url}&cursor={found.next}").query)]


async def test_pages_by_id_are_sought_and_never_sorted(store: SqliteStore) -> None:
    first, later = await pages(store, "limit=5")
    assert first == ["SCAN rows:places"]
    assert later == ["SEARCH rows:places USING PRIMARY KEY (id>?)"]


async def test_pages_of_an_unindexed_filter_go_on_from_the_cursor(store: SqliteStore) -> None:
    first, later = await pages(store, "country=x&limit=5")
    assert first == ["SCAN rows:places"]
    assert later == ["SEARCH rows:places USING PRIMARY KEY (id>?)"]


async def test_pages_of_an_indexed_filter_are_sought_by_value_and_id(store: SqliteStore) -> None:
    first, later = await pages(store, "Region=a&limit=5")
    assert len(first) == len(later) == 1
    assert first[0].startswith("SEARCH rows:places USING INDEX index:")
    assert first[0].endswith("(<expr>=?)")
    assert later[0].endswith("(<expr>=? AND id>?)")


@pytest.mark.parametrize("url", ["sort=people&limit=5", "people[gte]=3&sort=people&limit=5"])
async def test_pages_in_the_order_of_an_indexed_field_are_not_sorted(store: SqliteStore, url: str) -> None:
    first, later = await pages(store, url)
    assert len(first) == len(later) == 1
    assert "USING INDEX index:" in first[0]
    assert "(<expr>>?" in later[0]


async def test_counting_an_indexed_value_reads_the_index(store: SqliteStore) -> None:
    (line,) = explained(store, count_sql(asked(Place, "Region=a").query.where, schema_of(Place)))
    assert "INDEX index:" in line
    assert "(<expr>=?)" in line
