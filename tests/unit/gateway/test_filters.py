"""Filters, orders and pages as the outside writes them."""

from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.contract.model import Model, Resource
from hanse.gateway.fields import plain
from hanse.gateway.filters import DEPTH_MAX, asked, asked_in
from hanse.gateway.limits import FILTERS_MAX, VALUES_MAX
from hanse.kernel.faults import Invalid, TooLarge
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Text, Where

Sku = NewType("Sku", str)


class Place(Model):
    city: str


class Thing(Resource):
    name: str
    total: Annotated[int, msgspec.Meta(ge=0)] = 0
    price: Decimal | None = None
    at: datetime | None = None
    open: bool = True
    status: Literal["new", "paid"] = "new"
    tags: list[str] = msgspec.field(default_factory=list)
    place: Place | None = None
    marks: dict[str, int] = msgspec.field(default_factory=dict)
    either: int | str = 0
    limit: int = 0
    rank: int = 0
    anything: tuple[()] = ()
    sku: Sku = Sku("")


def where(query: str) -> Where | None:
    return asked(Thing, query).query.where


@pytest.mark.parametrize(
    ("query", "pointer", "told"),
    [
        ("color=red", "/color", "thing has no field 'color'; it has id, rev, name"),
        ("place.street=x", "/place.street", "thing.place has no field 'street'; it has city"),
        ("total[between]=1", "/total[between]", "total has no operator 'between'; it has eq, ne, in, lt"),
        ("total[contains]=1", "/total[contains]", "total has no operator 'contains'"),
        ("open[gt]=true", "/open[gt]", "open has no operator 'gt'; it has eq, ne, in"),
        ("place=x", "/place", "place has no operator 'eq'; it has none"),
        ("rank=many", "/rank", "Expected `int`, got `str`, in 'many'"),
        ("at=yesterday", "/at", "Invalid RFC3339 encoded datetime, in 'yesterday'"),
        ("status=lost", "/status", "Invalid enum value 'lost'"),
        ("total[", "/total[", "expected a field or field[operator]"),
        ("sort=color", "/sort", "thing has no field 'color'"),
        ("sort=tags", "/sort", "tags is not a single value"),
        ("limit=0", "/limit", "expected a limit from 1 to 1000, got '0'"),
        ("limit=1e3", "/limit", "expected a limit from 1 to 1000"),
        ("rank=1&rank=x", "/rank", "Expected `int`"),
        ("snapshot=maybe", "/snapshot", "expected snapshot=true or snapshot=false"),
        ("limit=1&limit=2", "/limit", "expected one limit, got several"),
        ("cursor=a&sort=rank&cursor=a", "/cursor", "expected one cursor, got several"),
        ("total=true&total=true", "/total", "expected one total, got several"),
        ("after=a&after=b", "/after", "expected one after, got several"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(query: str, pointer: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        asked(Thing, query)

    assert caught.value.errors[0].pointer == pointer
    assert told in caught.value.errors[0].detail


def test_names_in_pieces_are_one_list() -> None:
    assert asked(Thing, "sort=rank&sort=-name").query == asked(Thing, "sort=rank,-name").query
    assert asked(Thing, "expand=a&expand=b").expand == ("a", "b")


def test_everything_that_is_wrong_is_listed() -> None:
    with pytest.raises(Invalid) as caught:
        asked(Thing, "color=red&rank=x&total=x&limit=0&sort=nothing")

    assert len(caught.value.errors) == 5


def test_more_filters_than_anybody_needs_are_refused() -> None:
    with pytest.raises(TooLarge):
        asked(Thing, "&".join(f"marks.m{n}=1" for n in range(FILTERS_MAX + 1)))
    with pytest.raises(Invalid, match="at most"):
        asked(Thing, f"total[in]={'1,' * VALUES_MAX}1")


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ("", None),
        ("name=", Compare("eq", ("name",), "")),
        ("name=null", Compare("eq", ("name",), "null")),
        ("at=null", Compare("eq", ("at",), None)),
        ("id=7", Compare("eq", ("id",), "7")),
        ("rev[gt]=7", Compare("gt", ("rev",), 7)),
        ("total[gte]=-1", Compare("ge", ("total",), -1)),
        ("total[ne]=1", Compare("ne", ("total",), 1)),
        ("price[lt]=1.50", Compare("lt", ("price",), "1.50")),
        ("at[lte]=2026-01-01T00:00:00Z", Compare("le", ("at",), "2026-01-01T00:00:00Z")),
        ("open=false", Compare("eq", ("open",), False)),
        ("status[in]=new,paid", OneOf(("status",), ("new", "paid"))),
        ("status=new&status=paid", OneOf(("status",), ("new", "paid"))),
        ("name[contains]=land", Text("contains", ("name",), "land")),
        ("name[starts]=a%26b", Text("starts", ("name",), "a&b")),
        ("name[ends]=c", Text("ends", ("name",), "c")),
        ("sku=null", Compare("eq", ("sku",), "null")),
        ("sku[gt]=a", Compare("gt", ("sku",), "a")),
        ("sku[starts]=a", Text("starts", ("sku",), "a")),
        ("tags=red", Holds(("tags",), "red")),
        ("tags[ne]=red", Not(Holds(("tags",), "red"))),
        ("place.city=Bremen", Compare("eq", ("place", "city"), "Bremen")),
        ("marks.math[gt]=3", Compare("gt", ("marks", "math"), 3)),
        ("either=7", Compare("eq", ("either",), "7")),
        ("limit[eq]=3", Compare("eq", ("limit",), 3)),
        ("open=1&rank=2", And((Compare("eq", ("open",), True), Compare("eq", ("rank",), 2)))),
    ],
)
def test_a_query_string_becomes_a_tree(query: str, tree: Where | None) -> None:
    assert where(query) == tree


def test_a_page_is_asked_for_beside_the_filter() -> None:
    got = asked(Thing, "sort=-at,name&limit=7&cursor=c&total=true&after=l.1&snapshot=false&open=true")

    assert got.query.order == (Order(("at",), descending=True), Order(("name",)))
    assert (got.query.limit, got.query.cursor) == (7, "c")
    assert (got.total, got.after, got.snapshot) == (True, "l.1", False)


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        (None, None),
        ({}, None),
        ({"name": "x"}, Compare("eq", ("name",), "x")),
        ({"at": None}, Compare("eq", ("at",), None)),
        ({"total": {"gte": 1, "lt": 5}}, And((Compare("ge", ("total",), 1), Compare("lt", ("total",), 5)))),
        ({"status": {"in": ["new"]}}, OneOf(("status",), ("new",))),
        ({"$or": [{"total": 1}, {"total": 2}]}, Or((Compare("eq", ("total",), 1), Compare("eq", ("total",), 2)))),
        ({"$and": {"total": 1}}, And((Compare("eq", ("total",), 1),))),
        ({"$not": {"total": 1}}, Not(Compare("eq", ("total",), 1))),
        ({"$not": {}}, Not(And(()))),
    ],
)
def test_a_json_filter_becomes_a_tree(document: object, tree: Where | None) -> None:
    assert asked_in(Thing, {"where": document}).query.where == tree


@pytest.mark.parametrize("document", [{"total": "1"}, {"color": 1}, [], {"$or": [1]}, {"total": {"gt": [1]}}])
def test_a_json_filter_that_cannot_be_is_refused(document: object) -> None:
    with pytest.raises(Invalid) as caught:
        asked_in(Thing, {"where": document})

    assert caught.value.errors[0].pointer.startswith("/where")


def test_a_json_filter_is_only_so_deep_and_so_wide() -> None:
    deep: dict[str, Any] = {"total": 1}
    for _ in range(DEPTH_MAX):
        deep = {"$not": deep}

    with pytest.raises(Invalid, match="deep"):
        asked_in(Thing, {"where": deep})
    with pytest.raises(TooLarge):
        asked_in(Thing, {"where": {"$or": [{}] * (FILTERS_MAX + 1)}})


def test_a_hint_is_known_by_what_is_left_without_null_and_annotations() -> None:
    assert plain(Annotated[int | None, "note"]) is int
    assert plain(int | str) is object


@given(st.text())
def test_no_query_string_does_more_than_be_refused(query: str) -> None:
    with suppress(Invalid, TooLarge):
        asked(Thing, query)


names = st.sampled_from(["name", "total", "at", "tags", "place", "place.city", "marks.x", "$or", "$not", "no"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.sampled_from(["eq", "in", "gt"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(names, values))
def test_no_json_filter_does_more_than_be_refused(document: dict[str, object]) -> None:
    with suppress(Invalid, TooLarge):
        asked_in(Thing, {"where": document})
