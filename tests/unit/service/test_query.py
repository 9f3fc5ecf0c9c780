import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID  # noqa: TID251 - a value to compare with

import pytest
from hypothesis import given, strategies as st

from hanse.contract.model import Model, Resource
from hanse.kernel.faults import Misdeclared
from hanse.service.query import Symbol, contains, desc, holds, not_, one_of, order_of, where_of
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Text, Where


class Size(Model):
    width: int


class State(enum.Enum):
    NEW = "new"


class Item(Resource):
    path: str
    fold: int = 0
    amount: Decimal = Decimal(0)
    active: bool = False
    tags: tuple[str, ...] = ()
    size: Size = Size(width=1)
    state: State = State.NEW
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


Filter = Callable[[Item], bool]

RIGHT: list[tuple[Filter, Where]] = [
    (lambda i: i.path == "x", Compare("eq", ("path",), "x")),
    (lambda i: i.path != "x", Compare("ne", ("path",), "x")),
    (lambda i: i.fold < 3, Compare("lt", ("fold",), 3)),
    (lambda i: i.fold <= 3, Compare("le", ("fold",), 3)),
    (lambda i: i.fold > 3, Compare("gt", ("fold",), 3)),
    (lambda i: i.fold >= 3, Compare("ge", ("fold",), 3)),
    (lambda i: i.fold > 3, Compare("gt", ("fold",), 3)),
    (lambda i: i.active, Compare("eq", ("active",), value=True)),
    (lambda i: i.active & (i.fold == 1), And((Compare("eq", ("active",), value=True), Compare("eq", ("fold",), 1)))),
    (lambda i: i.active | (i.fold == 1), Or((Compare("eq", ("active",), value=True), Compare("eq", ("fold",), 1)))),
    (lambda i: (i.fold == 1) & i.active, And((Compare("eq", ("fold",), 1), Compare("eq", ("active",), value=True)))),
    (lambda i: (i.fold == 1) | i.active, Or((Compare("eq", ("fold",), 1), Compare("eq", ("active",), value=True)))),
    (lambda i: not_(i.active), Not(Compare("eq", ("active",), value=True))),
    (lambda i: cast("bool", ~cast("Any", i.fold == 1)), Not(Compare("eq", ("fold",), 1))),
    (lambda i: one_of(i.path, ["a", "b"]), OneOf(("path",), ("a", "b"))),
    (lambda i: holds(i.tags, "a"), Holds(("tags",), "a")),
    (lambda i: contains(i.fold, 3), Holds(("fold",), 3)),
    (lambda i: contains(i.path, "a"), Text("contains", ("path",), "a")),
    (lambda i: contains(i.path.casefold(), "a"), Text("contains", ("path",), "a", fold=True)),
    (lambda i: i.path.startswith("a"), Text("starts", ("path",), "a")),
    (lambda i: i.path.lower().endswith("a"), Text("ends", ("path",), "a", fold=True)),
    (lambda i: i.size.width == 3, Compare("eq", ("size", "width"), 3)),
    (lambda i: i.state == State.NEW, Compare("eq", ("state",), "new")),
    (lambda i: i.amount > Decimal("1.50"), Compare("gt", ("amount",), "1.50")),
    (lambda i: i.at > datetime(2026, 1, 2, tzinfo=UTC), Compare("gt", ("at",), "2026-01-02T00:00:00Z")),
]


@pytest.mark.parametrize(("condition", "tree"), RIGHT)
def test_a_typed_lambda_leaves_a_tree(condition: Filter, tree: Where) -> None:
    assert where_of(condition) == tree


ADVICE = "combine with & | and not_"
WRONG: list[tuple[Callable[[Any], object], str]] = [
    (lambda i: i.path == "x" and i.active, ADVICE),
    (lambda i: i.path == "x" or i.active, ADVICE),
    (lambda i: not i.active, ADVICE),
    (lambda i: 1 < i.fold < 3, ADVICE),
    (lambda i: "a" in i.tags, ADVICE),
    (lambda i: i.path in ("a", "b"), ADVICE),
    (lambda i: i.active if i.fold else i.path, ADVICE),
    (lambda i: [tag for tag in i.tags], ADVICE),  # noqa: C416 - the point
    (lambda i: len(i.tags) == 1, ADVICE),
    (lambda i: True, "expected a condition on the row's fields, got True"),
    (lambda i: i, "expected a condition on the row's fields, got the row"),
    (lambda i: i == 3, "expected a field of the row, got the row"),
    (lambda i: (i.fold == 1) & True, "expected a condition on the row's fields, got True"),
    (lambda i: not_(3), "expected a condition on the row's fields, got 3"),
    (lambda i: i.fold == i.amount, "the field fold is compared with the field amount; a query compares a field with"),
    (lambda i: i.fold == [1], r"compares with a single value such as a string or a number, got \[1\]"),
    (lambda i: i.fold + 1 == 2, "a query cannot do this with a field: unsupported operand"),
    (lambda i: i.tags[0] == "a", "a query cannot do this with a field: .*not subscriptable"),
    (lambda i: i.path.strip() == "a", "a query cannot do this with a field: .*not callable"),
    (lambda i: i.__next__, "a query cannot do this with a field: __next__"),
    (lambda i: one_of("x", ["x"]), "expected a field of the row, got 'x'"),
    (lambda i: i.path.casefold() == "x", "without regard to case can be asked for startswith, endswith and contains"),
]


@pytest.mark.parametrize(("condition", "told"), WRONG)
def test_what_a_query_cannot_do_is_refused_where_it_is_written(condition: Filter, told: str) -> None:
    with pytest.raises(Misdeclared, match=told):
        where_of(condition)


def test_no_lambda_is_no_filter_and_a_tree_stays_one() -> None:
    tree = Compare("eq", ("path",), "x")
    assert where_of(None) is None
    assert where_of(tree) is tree


@pytest.mark.parametrize(
    ("value", "scalar"),
    [
        (date(2026, 1, 2), "2026-01-02"),
        (time(1, 2), "01:02:00"),
        (timedelta(seconds=90), "PT90S"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"tea", "dGVh"),
        (None, None),
        (1.5, 1.5),
    ],
)
def test_values_are_compared_as_json_has_them(value: object, scalar: object) -> None:
    tree = where_of(lambda row: cast("Any", row).any == value)
    assert tree == Compare("eq", ("any",), cast("Any", scalar))


def test_sorting_names_fields_and_directions() -> None:
    assert order_of(None) == ()
    by_path: Callable[[Item], object] = lambda i: i.path  # noqa: E731 - types the lambda
    by_two: Callable[[Item], object] = lambda i: (desc(i.fold), i.size.width)  # noqa: E731
    assert order_of(by_path) == (Order(("path",)),)
    assert order_of(by_two) == (
        Order(("fold",), descending=True),
        Order(("size", "width")),
    )


@pytest.mark.parametrize(
    ("sort", "told"),
    [
        (lambda i: "path", "expected a field to sort by, such as `lambda o: o.amount`, got 'path'"),
        (lambda i: i, "expected a field of the row, got the row"),
        (lambda i: desc("path"), r"desc\(\) goes round a field in `sort=`, got 'path'"),
        (lambda i: -i.fold, "a query cannot do this with a field: bad operand"),
        (lambda i: i.path.casefold(), "without regard to case"),
    ],
)
def test_what_cannot_be_sorted_by_is_refused(sort: Callable[[Any], object], told: str) -> None:
    with pytest.raises(Misdeclared, match=told):
        order_of(sort)


def test_a_field_joins_conditions_from_both_sides() -> None:
    active: Any = Symbol(("active",))
    tree = Compare("eq", ("active",), value=True)
    for joined in (active & active, active.__rand__(active)):
        assert joined.tree == And((tree, tree))
    assert active.__ror__(active).tree == Or((tree, tree))


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=5))
def test_any_name_is_a_field(names: list[str]) -> None:
    symbol = Symbol(())
    for name in names:
        symbol = getattr(symbol, name)
    assert where_of(lambda _: cast("bool", symbol == 1)) == Compare("eq", tuple(names), 1)
    assert repr(symbol) == f"the field {'.'.join(names)}"
