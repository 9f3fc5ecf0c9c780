"""Whatever a field's type is, every way to ask means what Python means by it, and each store sorts alike."""

import asyncio
import enum
import operator
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlencode
from uuid import UUID  # noqa: TID251 - the type only

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.contract.model import Model, Resource
from hanse.gateway.filters import asked, asked_in
from hanse.service.query import desc, filter_of, holds, one_of, sorting_of
from hanse.service.shape import schema_of
from hanse.store.base import Batch, Put, Store
from hanse.store.evaluate import predicate
from hanse.store.memory import MemoryStore
from hanse.store.query import Query, Where
from hanse.store.sqlite import SqliteStore


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 2
    HIGH = 10


class Inner(Model):
    at: datetime | None = None
    price: Decimal = Decimal(0)


class Thing(Resource):
    at: datetime
    day: date
    clock: time
    span: timedelta
    price: Decimal
    ref: UUID
    colour: Colour
    level: Level
    word: Literal["a", "B"]
    real: float
    whole: int
    flag: bool
    text: str
    maybe: datetime | None
    inner: Inner
    prices: list[Decimal]
    times: list[datetime]


OFFSETS = [None, UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-5, minutes=-30))]
moments = st.builds(
    lambda hour, offset, micro: datetime(2026, 1, 2, hour, 0, 0, micro, tzinfo=offset),
    st.integers(0, 23),
    st.sampled_from(OFFSETS),
    st.sampled_from([0, 1, 500_000]),
)
prices = st.sampled_from(["-10", "-9.99", "0", "1.5", "1.50", "9", "10", "1E+3", "0.1000000000000000000001"]).map(
    Decimal
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "at": moments,
    "day": st.sampled_from([date(2026, 1, 2), date(999, 12, 31), date(2026, 10, 1)]),
    "clock": st.builds(
        lambda hour, offset: time(hour, tzinfo=offset), st.sampled_from([0, 9, 10, 23]), st.sampled_from(OFFSETS)
    ),
    "span": st.sampled_from([1, 59.5, 60, 3600, 86_401, -1, 0]).map(lambda seconds: timedelta(seconds=seconds)),
    "price": prices,
    "ref": st.sampled_from([UUID(int=1), UUID(int=10), UUID(int=2**127)]),
    "colour": st.sampled_from(Colour),
    "level": st.sampled_from(Level),
    "word": st.sampled_from(["a", "B"]),
    "real": st.sampled_from([0.0, -1.5, 9.0, 10.0, 1e22]),
    "whole": st.sampled_from([-1, 9, 10, 2**53 + 1]),
    "flag": st.booleans(),
    "text": st.sampled_from(["a", "B", "10", "9", "", "é"]),
    "maybe": st.none() | moments,
    "inner.at": st.none() | moments,
    "inner.price": prices,
    "prices": prices,
    "times": moments,
}
LISTS = {"prices", "times"}
EQUAL_ONLY = {"ref", "colour", "flag"}
things = st.builds(
    Thing,
    **{name: values for name, values in VALUES.items() if "." not in name and name not in LISTS},
    inner=st.builds(Inner, at=VALUES["inner.at"], price=prices),
    prices=st.lists(prices, max_size=2),
    times=st.lists(moments, max_size=2),
)


def operators(name: str) -> Sequence[str]:
    if name in LISTS:
        return ["eq"]
    return ["eq", "ne", "in"] if name in EQUAL_ONLY else ["eq", "ne", "in", "lt", "lte", "gt", "gte"]


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, str, Any]:
    name = draw(st.sampled_from(sorted(VALUES)))
    how = draw(st.sampled_from(operators(name)))
    values = VALUES[name]
    if how == "in":
        return name, how, draw(st.lists(values, min_size=1, max_size=2))
    if how in {"lt", "lte", "gt", "gte"}:
        values = values.filter(lambda value: value is not None)
    return name, how, draw(values)


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    return msgspec.to_builtins(value)


def text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(text, value))
    written = plain(value)
    return "null" if written is None else str(written).lower() if isinstance(written, bool) else str(written)


PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def as_lambda(name: str, how: str, value: object) -> Where | None:
    def ask(thing: Any) -> Any:  # noqa: ANN401 - a symbol
        field = operator.attrgetter(name)(thing)
        if name in LISTS:
            return holds(field, value)
        return one_of(field, value) if how == "in" and isinstance(value, list) else PYTHON[how](field, value)

    return filter_of(Thing, ask)


def comparable(value: Any) -> Any:  # noqa: ANN401 - of any type
    """As Python compares it, once times without an offset count as UTC, enumerations as their values."""
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, time):
        clock = timedelta(hours=value.hour)
        return clock - (value.utcoffset() or timedelta())
    return value


def holds_in_python(thing: Thing, name: str, how: str, value: object) -> bool:
    actual, against = comparable(operator.attrgetter(name)(thing)), comparable(value)
    if name in LISTS:
        return against in actual
    if how == "in":
        return actual in against
    if actual is None and how not in {"eq", "ne"}:
        return False
    return bool(PYTHON[how](actual, against))


async def filled(store: Store, rows: Sequence[Thing]) -> None:
    await store.open([schema_of(Thing)])
    puts = [Put("things", str(n), msgspec.json.encode(row), "m") for n, row in enumerate(rows)]
    await store.commit(Batch(1.0, writes=tuple(puts)))


async def answers(rows: Sequence[Thing], query: Query) -> list[list[str]]:
    """The ids that each store finds, in order, a page at a time."""
    found: list[list[str]] = []
    for store in (MemoryStore(), SqliteStore(":memory:")):
        await filled(store, rows)
        ids: list[str] = []
        page = await store.find("things", query)
        ids += [row.id for row in page.rows]
        while page.next is not None:
            page = await store.find("things", msgspec.structs.replace(query, cursor=page.next))
            ids += [row.id for row in page.rows]
        found.append(ids)
        await store.close()
    return found


@settings(max_examples=150)
@given(conditions(), st.lists(things, max_size=5))
def test_a_filter_means_the_same_however_it_is_written_and_wherever_it_runs(
    condition: tuple[str, str, Any], rows: list[Thing]
) -> None:
    name, how, value = condition
    trees = {
        "query string": asked(Thing, urlencode({f"{name}[{how}]": text(value)})).query.where,
        "document": asked_in(Thing, {"where": {name: {how: plain(value)}}}).query.where,
        "lambda": as_lambda(*condition),
    }
    expected = [str(n) for n, row in enumerate(rows) if holds_in_python(row, *condition)]

    for way, tree in trees.items():
        test = predicate(tree, schema_of(Thing))
        followed = [str(n) for n, row in enumerate(rows) if test({**plain(row), "id": str(n)})]
        assert followed == expected, way
        assert asyncio.run(answers(rows, Query(tree))) == [expected, expected], way


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(VALUES.keys() - LISTS - EQUAL_ONLY)), st.booleans(), st.lists(things, min_size=2, max_size=6)
)
def test_rows_are_sorted_by_what_their_fields_mean(name: str, falling: bool, rows: list[Thing]) -> None:
    field = operator.attrgetter(name)
    orders = {
        "query string": asked(Thing, urlencode({"sort": f"-{name}" if falling else name})).query.order,
        "lambda": sorting_of(Thing, lambda thing: desc(field(thing)) if falling else field(thing)),
    }

    def key(n: int) -> tuple[bool, Any]:
        value = comparable(field(rows[n]))
        return (value is not None, value if value is not None else 0)

    expected = [str(n) for n in sorted(range(len(rows)), key=key, reverse=False)]
    if falling:
        expected = [str(n) for n in sorted(range(len(rows) - 1, -1, -1), key=key)][::-1]
    for way, order in orders.items():
        assert asyncio.run(answers(rows, Query(order=order, limit=2))) == [expected, expected], way


@pytest.mark.parametrize("name", sorted(VALUES.keys() - LISTS - {"flag"}))
def test_each_kind_of_field_can_be_sorted_by(name: str) -> None:
    assert asked(Thing, f"sort={name}").query.order[0].path == tuple(name.split("."))
