"""Names in a value that its type does not have."""

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pydantic
import pytest

from hanse.kernel.validate import names_in, part_of, unknown


class Cat(msgspec.Struct, tag="cat"):
    lives: int = 9


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


@dataclass
class Chip:
    number: int = 0


class Food(TypedDict, total=False):
    name: str


class Vet(pydantic.BaseModel):
    name: str = ""


class Home(msgspec.Struct):
    pet: Cat | Dog
    chip: Chip | None = None
    food: Food | None = None
    vet: Vet | None = None
    pair: tuple[Chip, Chip] | None = None
    notes: dict[str, Chip] = {}
    anything: object = None
    new_name: int = msgspec.field(name="newName", default=0)


@pytest.mark.parametrize(
    ("value", "pointers"),
    [
        ({}, []),
        ({"pet": {"type": "cat", "lives": 3, "tricks": []}}, ["/pet/tricks"]),
        ({"pet": {"type": "dog", "tricks": [], "lives": 1}}, ["/pet/lives"]),
        (
            {"chip": {"number": 1, "nummer": 2}, "food": {"nam": ""}, "vet": {"x": 1}},
            ["/chip/nummer", "/food/nam", "/vet/x"],
        ),
        ({"pair": [{"a": 1}, {"b": 1}]}, ["/pair/0/a", "/pair/1/b"]),
        ({"notes": {"a/b": {"c~d": 1}}}, ["/notes/a~1b/c~0d"]),
        ({"anything": {"at": "all"}, "chip": None, "food": 7}, []),
        ({"new_name": 1, "newName": 2}, ["/new_name"]),
        ([{"pet": 1}], []),
    ],
)
def test_every_name_is_told_wherever_it_is(value: object, pointers: list[str]) -> None:
    assert [flaw.pointer for flaw in unknown(Home, value)] == pointers


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Cat, ("type", "lives")),
        (Annotated[Chip | None, "a note"], ("number",)),
        (Food, ("name",)),
        (Vet, ("name",)),
        (dict[str, int], None),
        (list[Cat], None),
        (int, None),
        (object, None),
    ],
)
def test_the_names_of_a_type_are_those_that_it_takes(kind: Any, names: tuple[str, ...] | None) -> None:  # noqa: ANN401 - a type form
    assert names_in(kind) == names


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        (Cat, "lives", int),
        (Cat, "none", object),
        (list[Cat], "0", Cat),
        (list[Cat], "-", Cat),
        (dict[str, Dog], "any", Dog),
        (Annotated[Chip | None, "a note"], "number", int),
        (int, "any", object),
        (Cat | Dog, "lives", object),
    ],
)
def test_the_type_of_a_part_is_told_where_it_is_known(kind: Any, name: str, part: object) -> None:  # noqa: ANN401 - a type form
    assert part_of(kind, name) is part
