"""The reference semantics of queries."""

import msgspec
import pytest
from hypothesis import given

from hanse.kernel.faults import Malformed
from hanse.store.base import CollectionSchema, FieldSchema, Row
from hanse.store.cursor import encode_cursor
from hanse.store.evaluate import Value, matches, page, predicate
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Path, Query, Text, Where
from hanse.testing.store_queries import THINGS, conditions, queries, stored_rows

ORDERS = CollectionSchema(
    "orders",
    {
        "sku": FieldSchema("string", required=True),
        "amount": FieldSchema("decimal", required=False, default=b'"1.0"'),
        "address": FieldSchema("object", required=False, default=b'{"city":"Bonn"}'),
        "tags": FieldSchema("array", required=False, default=b"[]"),
    },
)


def row(**fields: object) -> Value:
    return {"id": "1", "rev": 7, **fields}


def pairs(stored: dict[str, bytes]) -> list[tuple[Row, Value]]:
    rows = [Row(id, rev, value) for rev, (id, value) in enumerate(stored.items(), 1)]
    return [(row, {**msgspec.json.decode(row.value), "id": row.id, "rev": row.rev}) for row in rows]


HITS: list[tuple[Where, Value]] = [
    (Compare("eq", ("sku",), "tea"), row(sku="tea")),
    (Compare("eq", ("sku",), None), row()),
    (Compare("ne", ("sku",), None), row(sku="tea")),
    (Compare("ne", ("sku",), "tea"), row()),
    (Compare("gt", ("amount",), "0.99"), row()),
    (Compare("ge", ("amount",), 10), row(amount="10.0")),
    (Compare("le", ("amount",), "10"), row(amount="9.99")),
    (Compare("lt", ("rev",), 8), row()),
    (Compare("eq", ("id",), "1"), row()),
    (Compare("eq", ("address", "city"), "Bonn"), row()),
    (Compare("eq", ("address", "city"), None), row(address={})),
    (Compare("eq", ("address", "city"), None), row(address="Bonn")),
    (Compare("ne", ("amount",), "soon"), row(amount="soon")),
    (OneOf(("sku",), ("tea", None)), row()),
    (Text("contains", ("sku",), "STRASSE", fold=True), row(sku="Große Straße")),
    (Text("starts", ("sku",), "te"), row(sku="tea")),
    (Text("ends", ("sku",), "ea"), row(sku="tea")),
    (Holds(("tags",), 1), row(tags=["a", 1.0])),
    (And(()), row()),
    (Not(Or(())), row()),
]

MISSES: list[tuple[Where, Value]] = [
    (Compare("lt", ("sku",), "z"), row()),
    (Compare("ge", ("sku",), None), row()),
    (Compare("gt", ("sku",), 1), row(sku="tea")),
    (Compare("eq", ("sku",), 1), row(sku=True)),
    (Compare("eq", ("amount",), "soon"), row(amount="soon")),
    (Compare("lt", ("amount",), "soon"), row(amount="1")),
    (OneOf(("amount",), ("soon",)), row(amount="soon")),
    (OneOf(("sku",), ()), row(sku="tea")),
    (Text("starts", ("sku",), "TE"), row(sku="tea")),
    (Text("contains", ("sku",), "1"), row(sku=1)),
    (Holds(("tags",), True), row(tags=[1])),
    (Holds(("sku",), "t"), row(sku="tea")),
]


@pytest.mark.parametrize(("where", "value"), HITS)
def test_a_condition_matches(where: Where, value: Value) -> None:
    assert matches(where, value, ORDERS)


@pytest.mark.parametrize(("where", "value"), MISSES)
def test_a_condition_does_not_match(where: Where, value: Value) -> None:
    assert not matches(where, value, ORDERS)


def test_a_text_test_of_the_own_revision_is_false() -> None:
    assert not matches(Text("contains", ("rev",), "7"), row(), ORDERS)


@pytest.mark.parametrize("path", [(), ('a"b',), ("a", "b\\"), ("a\n",)])
def test_a_path_that_no_database_can_write_is_refused(path: Path) -> None:
    with pytest.raises(Malformed, match="expected a path of names"):
        predicate(Compare("eq", path, 1), ORDERS)


@given(stored_rows(), conditions())
def test_a_condition_and_its_opposite_share_no_row_and_miss_none(stored: dict[str, bytes], where: Where) -> None:
    test, opposite = predicate(where, THINGS), predicate(Not(where), THINGS)
    assert all(test(value) is not opposite(value) for _, value in pairs(stored))


@given(stored_rows(), queries())
def test_pages_together_are_the_whole_answer_in_order(stored: dict[str, bytes], query: Query) -> None:
    rows = pairs(stored)
    whole = page(rows, msgspec.structs.replace(query, limit=1000), THINGS).rows
    collected: list[Row] = []
    found = page(rows, query, THINGS)
    while found.next is not None:
        collected.extend(found.rows)
        found = page(rows, msgspec.structs.replace(query, cursor=found.next), THINGS)
    assert (*collected, *found.rows) == whole
    assert {row.id for row in whole} == {row.id for row, value in rows if matches(query.where, value, THINGS)}


def test_nulls_come_first_and_ties_are_ordered_by_id() -> None:
    rows = pairs({"3": b'{"sku":"b"}', "2": b'{"sku":"a"}', "1": b'{"sku":"a"}', "4": b"{}"})
    ascending = page(rows, Query(order=(Order(("sku",)),)), ORDERS)
    descending = page(rows, Query(order=(Order(("sku",), descending=True),)), ORDERS)
    assert [row.id for row in ascending.rows] == ["4", "1", "2", "3"]
    assert [row.id for row in descending.rows] == ["3", "1", "2", "4"]


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_an_impossible_limit_is_refused(limit: int) -> None:
    with pytest.raises(Malformed, match=f"limit from 1 to 1000, got {limit}"):
        page([], Query(limit=limit), ORDERS)


@pytest.mark.parametrize("cursor", ["", "x", "?", "AAAA", "é", "k6FhkKFi"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Malformed, match="cursor"):
        page([], Query(cursor=cursor), ORDERS)


@pytest.mark.parametrize(
    "other",
    [Query(where=Compare("eq", ("sku",), "tea")), Query(order=(Order(("sku",), descending=True),)), Query()],
)
def test_the_cursor_of_another_query_is_refused(other: Query) -> None:
    query = Query(order=(Order(("sku",)),))
    cursor = encode_cursor(("tea",), "1", query, ORDERS)
    with pytest.raises(Malformed, match="another query"):
        page([], msgspec.structs.replace(other, cursor=cursor), ORDERS)


def test_a_cursor_survives_another_page_size() -> None:
    rows = pairs({str(n): b"{}" for n in range(5)})
    first = page(rows, Query(limit=2), ORDERS)
    rest = page(rows, Query(limit=9, cursor=first.next), ORDERS)
    assert [row.id for row in rest.rows] == ["2", "3", "4"]


def test_a_forged_key_in_a_cursor_is_refused() -> None:
    query = Query(order=(Order(("sku",)),))
    forged = encode_cursor((2**64 - 1,), "1", query, ORDERS)
    with pytest.raises(Malformed, match="cursor"):
        page([], msgspec.structs.replace(query, cursor=forged), ORDERS)
