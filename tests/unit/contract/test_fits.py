"""Whether what one version of a shape writes can be read by another one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, cast

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.contract.fits import Reading, Side, unreadable
from hanse.contract.schema import schemas_of

HINTS: dict[str, object] = {
    "int": int,
    "str": str,
    "float": float,
    "bool": bool,
    "none or int": int | None,
    "int or str": int | str,
    "ints": list[int],
    "strs": list[str],
    "few": Annotated[list[int], msgspec.Meta(max_length=2)],
    "by name": dict[str, int],
    "positive": Annotated[int, msgspec.Meta(ge=0)],
    "short": Annotated[str, msgspec.Meta(max_length=3)],
    "a or b": Literal["a", "b"],
    "a": Literal["a"],
    "pair": tuple[int, str],
    "anything": object,
}
VALUES: dict[str, list[object]] = {
    "int": [-1, 7],
    "str": ["", "a", "long enough"],
    "float": [0.5],
    "bool": [True],
    "none or int": [None, -1],
    "int or str": [-1, "long enough"],
    "ints": [[], [-1, 2, 3]],
    "strs": [["long enough"]],
    "few": [[-1]],
    "by name": [{}, {"x": -1}],
    "positive": [0],
    "short": ["abc"],
    "a or b": ["a", "b"],
    "a": ["a"],
    "pair": [(1, "long enough")],
    "anything": [{"x": [1]}, 1.5],
}
Field = tuple[str, bool]
SHAPES = st.dictionaries(st.sampled_from("xyz"), st.tuples(st.sampled_from(sorted(HINTS)), st.booleans()), max_size=3)


def side(hint: object) -> Side:
    (schema,), definitions = schemas_of([hint])
    return Side(schema, definitions)


def shape(fields: dict[str, Field]) -> Any:  # noqa: ANN401 - a class made here
    """A struct with such fields, each with a value where it has a default."""
    listed = [
        (name, HINTS[kind], msgspec.field(default_factory=partial(first, kind))) if has else (name, HINTS[kind])
        for name, (kind, has) in fields.items()
    ]
    return msgspec.defstruct("Shape", cast("Any", listed), kw_only=True)


def first(kind: str) -> object:
    return VALUES[kind][0]


@given(SHAPES, SHAPES, st.data())
def test_what_is_said_to_be_readable_is_read(
    writes: dict[str, Field], reads: dict[str, Field], data: st.DataObject
) -> None:
    writer, reader = shape(writes), shape(reads)
    if unreadable(side(writer), side(reader)):
        return
    value = writer(**{name: data.draw(st.sampled_from(VALUES[kind])) for name, (kind, _) in writes.items()})
    msgspec.json.decode(msgspec.json.encode(value), type=reader)


@given(SHAPES)
def test_every_shape_reads_itself(fields: dict[str, Field]) -> None:
    one = side(shape(fields))
    assert unreadable(one, one, Reading(unknown_matters=True, gone_matters=True)) == []


@given(st.sampled_from(sorted(HINTS)), st.sampled_from(sorted(HINTS)))
def test_what_is_read_of_all_that_may_come_is_not_complained_of(writes: str, reads: str) -> None:
    """Nothing is told to be wrong that is right: of plain kinds, some value shows it."""
    if not unreadable(side(HINTS[writes]), side(HINTS[reads])):
        return
    wrong = [value for value in VALUES[writes] if not decodes(value, HINTS[reads])]
    assert wrong, (writes, reads)


def decodes(value: object, hint: object) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=hint)
    except msgspec.ValidationError:
        return False
    return True


class Leaf(msgspec.Struct, tag="leaf"):
    value: int


class Tree(msgspec.Struct, tag="tree"):
    left: Tree | Leaf


class Other(msgspec.Struct, tag="other"):
    value: int


class Wider(msgspec.Struct, tag="tree"):
    left: Wider | Leaf | Other


def test_shapes_that_hold_themselves_are_compared_to_their_end() -> None:
    assert unreadable(side(Tree), side(Tree)) == unreadable(side(Tree), side(Wider)) == []
    assert unreadable(side(Wider), side(Tree)) == ["left: may be Other, which is not known there"]


@pytest.mark.parametrize(
    ("writes", "reads", "how", "told"),
    [
        ({}, {"x": ("int", False)}, Reading(), "field x is needed, and is not there"),
        ({}, {"x": ("int", True)}, Reading(gone_matters=True), "field x is gone"),
        ({"x": ("int", False)}, {}, Reading(unknown_matters=True), "field x is not known there"),
        ({"x": ("none or int", False)}, {"x": ("int", False)}, Reading(), "x: expected integer, comes as null"),
        ({"x": ("int", False)}, {"x": ("positive", False)}, Reading(), "x: has to be at least 0"),
        ({"x": ("a or b", False)}, {"x": ("a", False)}, Reading(), 'x: expected one of "a", may be "b"'),
        ({"x": ("ints", False)}, {"x": ("few", False)}, Reading(), "x: has to be of so many items at most: 2"),
        ({"x": ("ints", False)}, {"x": ("strs", False)}, Reading(), "x: items: expected string, comes as integer"),
        ({"x": ("anything", False)}, {"x": ("int", False)}, Reading(), "x: expected integer, may be anything"),
    ],
)
def test_it_is_told_what_does_not_fit(
    writes: dict[str, Field], reads: dict[str, Field], how: Reading, told: str
) -> None:
    assert unreadable(side(shape(writes)), side(shape(reads)), how) == [told]
