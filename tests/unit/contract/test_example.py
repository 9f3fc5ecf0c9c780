"""Examples of schemas: each fits, and the same schema gives the same one."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID  # noqa: TID251 - a type, no id is made

import msgspec
import pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from msgspec import Meta

from hanse.contract.example import ID, Examples, NoExample
from hanse.contract.model import Model, Resource
from hanse.contract.schema import Json, schemas_of


class Colour(Enum):
    RED = "red"


class Leaf(Model):
    text: Annotated[str, Meta(min_length=7, max_length=9)]
    code: Annotated[str, Meta(pattern="^[A-Z]+$")] = "ABC"


class Tree(Model):
    leaf: Leaf
    trees: list["Tree"]
    parent: "Tree | None" = None


class Order(Resource):
    sku: Annotated[str, Meta(examples=["tea", "ink"])]
    count: Annotated[int, Meta(ge=3)] = 4


KINDS: list[Any] = [
    str,
    int,
    float,
    bool,
    None,
    bytes,
    datetime,
    date,
    time,
    timedelta,
    UUID,
    Decimal,
    Colour,
    Literal["a", 3],
    list[int],
    dict[str, int],
    tuple[int, str],
    tuple[int, ...],
    set[str],
    int | None,
    Leaf,
    Tree,
    Order,
    object,
    Annotated[int, Meta(gt=5, lt=7)],
    Annotated[float, Meta(gt=0, lt=1)],
    Annotated[int, Meta(multiple_of=7, ge=20)],
    Annotated[list[int], Meta(min_length=2)],
    Annotated[str, Meta(pattern=r"^[^@]+@[^@]+\.[a-z]$")],
]


def example(kind: Any, *, writing: bool = False) -> tuple[object, Json]:  # noqa: ANN401 - any type
    [schema], definitions = schemas_of([kind])
    return Examples(definitions).of(schema, writing=writing), {**schema, "$defs": definitions}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_example_fits(kind: Any) -> None:  # noqa: ANN401 - any type
    value, schema = example(kind)

    Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)
    assert example(kind)[0] == value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^never matched by what we know: [0-9]{40}$"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "array", "items": {"type": "string"}, "minItems": 900},
        {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "minItems": 1},
        {"allOf": [{"type": "string"}]},
        {"anyOf": [{"allOf": []}]},
        {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]},
        {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 2},
    ],
)
def test_where_nothing_is_known_to_fit_there_is_none(schema: Json) -> None:
    with pytest.raises(NoExample):
        Examples({}).of(schema)


def test_what_refers_to_itself_without_end_has_none() -> None:
    with pytest.raises(NoExample):
        Examples({"A": {"$ref": "#/$defs/A"}}).of({"$ref": "#/$defs/A"})


def test_what_a_field_declares_comes_first_then_its_default() -> None:
    assert example(Order)[0] == {"id": "", "rev": 0, "sku": "tea", "count": 4}


def test_what_the_server_gives_is_not_sent() -> None:
    [schema], definitions = schemas_of([Order])
    examples = Examples(definitions, {"Order": {"id": ID, "rev": 7}})

    assert examples.of(schema) == {"id": ID, "rev": 7, "sku": "tea", "count": 4}
    assert examples.of(schema, writing=True) == {"sku": "tea", "count": 4}
    assert Examples({}).of({"type": "object", "properties": {"a": {"readOnly": True}}}, writing=True) == {}


@given(st.integers(-100, 100), st.integers(0, 100), st.integers(1, 12))
def test_numbers_keep_to_their_bounds(least: int, span: int, step: int) -> None:
    schema: Json = {"type": "integer", "minimum": least, "maximum": least + span, "multipleOf": step}
    try:
        value = Examples({}).of(schema)
    except NoExample:
        return

    Draft202012Validator(schema).validate(value)


@given(st.integers(0, 60), st.integers(0, 60))
def test_texts_keep_to_their_length(least: int, span: int) -> None:
    value = msgspec.convert(Examples({}).of({"type": "string", "minLength": least, "maxLength": least + span}), str)

    assert least <= len(value) <= least + span
