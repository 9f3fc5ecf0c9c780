"""A filter means the same however it is written: in a query string, in JSON, or as a typed lambda."""

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
from hypothesis import given, strategies as st

from hanse.contract.model import Model, Resource
from hanse.gateway.filters import asked, asked_in
from hanse.service.query import contains, filter_of, holds, one_of
from hanse.service.shape import schema_of
from hanse.store.evaluate import predicate
from hanse.store.query import Where

Condition = tuple[str, str, Any]


class Address(Model):
    city: str = ""


class Order(Resource):
    sku: str = ""
    count: int = 0
    amount: Decimal = Decimal(0)
    paid: bool = False
    rank: int | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    address: Address = Address()


SCHEMA = schema_of(Order)
words = st.text("ab ,&=[]%null", max_size=3)
numbers = st.integers(-3, 3)
amounts = st.sampled_from(["-1", "0", "0.5", "1", "1.50", "10"]).map(Decimal)
orders = st.builds(
    Order,
    id=st.sampled_from(["1", "2"]),
    sku=words,
    count=numbers,
    amount=amounts,
    paid=st.booleans(),
    rank=st.none() | numbers,
    tags=st.lists(words, max_size=2),
    address=st.builds(Address, city=words),
)

ORDERED = ["lt", "lte", "gt", "gte"]
COMPARED = ["eq", "ne", *ORDERED]


def one(name: str, operators: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
    return st.tuples(st.just(name), st.sampled_from(operators), values)


conditions = st.one_of(
    one("sku", [*COMPARED, "starts", "ends", "contains"], words),
    one("address.city", ["eq", "ne", "contains"], words),
    one("count", COMPARED, numbers),
    one("amount", COMPARED, amounts),
    one("paid", ["eq", "ne"], st.booleans()),
    one("rank", ["eq", "ne"], st.none() | numbers),
    one("tags", ["eq", "ne"], words),
    one("count", ["in"], st.lists(numbers, min_size=1, max_size=3)),
)

PYTHON: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": one_of,
    "starts": lambda field, piece: field.startswith(piece),
    "ends": lambda field, piece: field.endswith(piece),
    "contains": contains,
}


def text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def as_query(chosen: list[Condition]) -> Where | None:
    # Two values under one key mean either; under another spelling of it they mean both, as everywhere.
    pairs = [(f"{name}[{how}]", text(value)) for name, how, value in chosen]
    return asked(Order, urlencode(pairs)).query.where


def plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal) else value


def as_document(chosen: list[Condition]) -> dict[str, object]:
    return {"$and": [{name: {how: plain(value)}} for name, how, value in chosen]}


def as_lambda(chosen: list[Condition]) -> Where | None:
    def ask(order: Any) -> Any:  # noqa: ANN401 - a symbol
        asked_of = [_asked(order, *one) for one in chosen]
        whole = asked_of[0]
        for more in asked_of[1:]:
            whole = whole & more
        return whole

    return filter_of(Order, ask)


def _asked(order: Any, name: str, how: str, value: object) -> Any:  # noqa: ANN401 - a symbol
    field = order
    for part in name.split("."):
        field = getattr(field, part)
    if name == "tags":
        return holds(field, value) if how == "eq" else ~_condition(holds(field, value))
    return PYTHON[how](field, value)


def _condition(value: Any) -> Any:  # noqa: ANN401 - typed as the bool that it stands for
    return value


def distinct(chosen: list[Condition]) -> bool:
    keys = [(name, how) for name, how, _ in chosen]
    return len(set(keys)) == len(keys)


@given(st.lists(conditions, min_size=1, max_size=3).filter(distinct), st.lists(orders, max_size=6))
def test_query_strings_documents_and_lambdas_choose_the_same_rows(chosen: list[Condition], rows: list[Order]) -> None:
    values = [msgspec.json.decode(msgspec.json.encode(row)) for row in rows]
    trees = [
        as_query(chosen),
        asked_in(Order, {"where": as_document(chosen)}).query.where,
        asked_in(Order, {"where": as_document(chosen)}).query.where,
        as_lambda(chosen),
    ]

    found = [[predicate(tree, SCHEMA)(value) for value in values] for tree in trees]
    assert found[1:] == found[:-1]


@given(st.lists(conditions, min_size=1, max_size=3).filter(distinct), orders)
def test_a_filter_means_what_python_means(chosen: list[Condition], row: Order) -> None:
    value = msgspec.json.decode(msgspec.json.encode(row))

    assert predicate(as_query(chosen), SCHEMA)(value) is all(_holds(row, *one) for one in chosen)


def _holds(row: Order, name: str, how: str, against: Any) -> bool:  # noqa: ANN401 - of any type
    actual: Any = row
    for part in name.split("."):
        actual = getattr(actual, part)
    if name == "tags":
        return (against in actual) is (how == "eq")
    match how:
        case "in":
            return actual in against
        case "contains":
            return against in actual
        case _:
            return bool(PYTHON[how](actual, against))
