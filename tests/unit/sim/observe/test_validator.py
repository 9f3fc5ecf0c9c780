"""The validator of plain data: it takes what typed codecs make, and refuses what they refuse."""

import datetime as dt
import enum
import math
import uuid  # noqa: TID251 - ids of a known value
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

from hanse.contract.schema import schemas_of
from hanse.kernel.codec import codec_for, encode
from hanse.sim.observe.validator import validator
from hanse.store.query import And, Compare, Query, Where

UTC = dt.UTC


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


class Partial(TypedDict, total=False):
    a: int


class Cat(msgspec.Struct, tag=True):
    lives: Annotated[int, msgspec.Meta(ge=0, le=9)]


class Dog(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern="^[A-Z]", max_length=5)]


class Row(msgspec.Struct, array_like=True):
    id: str
    rev: int = 0


@dataclass
class Tree:
    left: "Tree | None" = None


class Person(pydantic.BaseModel):
    name: str
    born: dt.date
    tags: set[str] = set()


def check(kind: object, value: object) -> str | None:
    """What the validator says of a value, as it is on the wire, against the schema of a type."""
    [schema], definitions = schemas_of([kind])
    return validator(schema, definitions)(msgspec.msgpack.decode(encode(value)))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 3),
        (float, 3),
        (float, math.nan),
        (str, "x"),
        (bytes, b"x"),
        (Any, {"any": [1]}),
        (None, None),
        (bool, True),
        (dt.datetime, dt.datetime(2024, 1, 1, tzinfo=UTC)),
        (dt.datetime, dt.datetime(2024, 1, 1)),  # noqa: DTZ001 - one without a zone is the point
        (Annotated[dt.datetime, msgspec.Meta(tz=True)], dt.datetime(2024, 1, 1, tzinfo=UTC)),
        (dt.date, dt.date(2024, 1, 1)),
        (dt.time, dt.time(12)),
        (dt.timedelta, dt.timedelta(days=-1)),
        (uuid.UUID, uuid.UUID(int=7)),
        (uuid.UUID, uuid.UUID(int=7).bytes),
        (Decimal, Decimal("1.50")),
        (Decimal, Decimal("1E+5")),
        (Decimal, 15),
        (Color, Color.RED),
        (Literal["a", 1] | None, None),
        (int | None, None),
        (list[int] | str, "x"),
        (dict[int, str], {1: "x"}),
        (dict[str, list[int]], {"x": [1]}),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "x")),
        (tuple[int, ...], (1, 2, 3)),
        (Point, Point(1, 2.5)),
        (Partial, {}),
        (Row, Row("x")),
        (Cat | Dog, Cat(9)),
        (Cat | Dog, Dog("Rex")),
        (Tree, Tree(Tree(Tree()))),
        (Person, Person(name="Ada", born=dt.date(1815, 12, 10), tags={"a"})),
        (Annotated[bytes, msgspec.Meta(min_length=2, max_length=3)], b"abc"),
        (Annotated[float, msgspec.Meta(multiple_of=0.5)], 2.5),
        (Annotated[list[int], msgspec.Meta(min_length=1)], [1]),
        (Annotated[dict[str, int], msgspec.Meta(max_length=1)], {"x": 1}),
        (Query, Query(And((Compare("eq", ("a", "b"), 1), Compare("lt", ("c",), None))))),
    ],
)
def test_what_a_codec_makes_is_right(kind: type[object], value: object) -> None:
    _ = codec_for(kind).decode(encode(value))
    assert check(kind, value) is None


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (int, True, ": expected integer, got True"),
        (int, 3.0, ": expected integer, got 3.0"),
        (bool, 1, ": expected boolean, got 1"),
        (bytes, "eA==", ": expected bytes, got 'eA=='"),
        (str, b"x", ": expected string, got b'x'"),
        (dt.date, "yesterday", ": expected date, got 'yesterday'"),
        (uuid.UUID, "7", ": expected uuid, got '7'"),
        (Decimal, "1.x", ": expected decimal, got '1.x'"),
        (dt.timedelta, "1 day", ": expected duration, got '1 day'"),
        (Color, "green", ": expected 'red', got 'green'"),
        (Literal[1, "a"], True, ": expected 1 or 'a', got True"),
        (Literal[1, "a"], ["a"], ": expected 1 or 'a', got ['a']"),
        (int | None, "x", ": expected one of 2 shapes (: expected integer, got 'x') (: expected null, got 'x'), got"),
        (dict[str, list[int]], {"x": [1, "y"]}, "/x/1: expected integer, got 'y'"),
        (tuple[int, str], [1], ": expected 2 items or more, got [1]"),
        (tuple[int, str], [1, "x", 2], ": expected 2 items at most, got"),
        (tuple[int, str], ["x", "x"], "/0: expected integer, got 'x'"),
        (Point, (1, "y"), "/1: expected number, got 'y'"),
        (Partial, {"a": "x"}, "/a: expected integer, got 'x'"),
        (Cat | Dog, {"type": "Cow"}, ": expected an object whose type is one of Cat, Dog, got {'type': 'Cow'}"),
        (Cat | Dog, "Cat", ": expected an object whose type is one of Cat, Dog, got 'Cat'"),
        (Cat, Cat(-1), "/lives: expected 0 or more, got -1"),
        (Cat, Cat(10), "/lives: expected 9 or less, got 10"),
        (Cat, {"type": "Cat"}, ": expected the fields lives as well, got {'type': 'Cat'}"),
        (Dog, Dog("rex"), "/name: expected text like ^[A-Z], got 'rex'"),
        (Dog, Dog("Alexander"), "/name: expected 5 characters or less, got 'Alexander'"),
        (Dog, {"type": "Dog", "name": "Rex", "age": 3}, ": expected no field 'age', got"),
        (Tree, {"left": {"left": 1}}, "/left"),
        (Person, {"name": "Ada", "born": 1815}, "/born: expected string, got 1815"),
        (Annotated[bytes, msgspec.Meta(min_length=4)], b"abc", ": expected 8 characters or more, got b'abc'"),
        (Annotated[float, msgspec.Meta(multiple_of=0.1)], 0.35, ": expected a multiple of 0.1, got 0.35"),
        (Annotated[float, msgspec.Meta(multiple_of=0.1)], math.inf, ": expected a multiple of 0.1, got inf"),
        (Annotated[int, msgspec.Meta(multiple_of=3)], 10**30 + 1, ": expected a multiple of 3, got 1000"),
        (Annotated[int, msgspec.Meta(gt=0)], 0, ": expected more than 0, got 0"),
        (Annotated[int, msgspec.Meta(lt=0)], 0, ": expected less than 0, got 0"),
    ],
)
def test_what_is_wrong_is_told_with_where_and_what(kind: object, value: object, problem: str) -> None:
    [schema], definitions = schemas_of([kind])
    # Not by way of MessagePack, which has no such integers: a schema is about any plain data.
    plain = value if isinstance(value, int) else msgspec.msgpack.decode(encode(value))
    told = validator(schema, definitions)(plain)
    assert told is not None
    assert told.startswith(problem)


def test_a_value_of_any_size_is_shown_short() -> None:
    told = check(int, "x" * 1_000)
    assert told is not None
    assert len(told) < 150


def test_parts_of_a_schema_that_pydantic_writes_hold_all_at_once() -> None:
    schema = {"allOf": [{"$ref": "#/$defs/Few"}, {"type": "integer", "minimum": 1}], "default": 1}
    told = validator(schema, {"Few": {"type": "integer", "maximum": 3}})
    assert [told(0), told(2), told(4)] == [": expected 1 or more, got 0", None, ": expected 3 or less, got 4"]
    assert validator({"const": 7}, {})(8) == ": expected 7, got 8"
    assert validator({"type": ["integer", "null"]}, {})(None) is None
    assert validator({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, {})([1, 2]) is not None


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    value=ANYTHING, kind=st.sampled_from([int, float, str, bytes, bool, Where, Query, Cat | Dog, Tree, Row, list[int]])
)
def test_it_agrees_with_the_codecs_on_anything(value: object, kind: type[object]) -> None:
    body = msgspec.msgpack.encode(value)
    try:
        _ = msgspec.msgpack.decode(body, type=kind)
    except msgspec.ValidationError:
        accepted = False
    else:
        accepted = True
    [schema], definitions = schemas_of([kind])
    assert (validator(schema, definitions)(msgspec.msgpack.decode(body)) is None) == accepted
