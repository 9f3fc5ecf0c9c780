from __future__ import annotations

import dataclasses
import enum
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from random import Random  # noqa: TID251 - hypothesis hands one out
from typing import Annotated, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

from hanse.kernel.codec import canonical, codec_for, encode, stored_json
from hanse.kernel.faults import Flaw, Invalid, Malformed
from hanse.kernel.message import Headers, Identity
from hanse.kernel.validate import FLAWS_MAX
from hanse.service.rows import Line

SCOPES = [f"scope-{number:02}" for number in range(20)]


class Circle(msgspec.Struct, tag="circle"):
    radius: Annotated[float, msgspec.Meta(gt=0)]


class Square(msgspec.Struct, tag="square"):
    side: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Size(TypedDict):
    width: int


class Met(pydantic.BaseModel):
    at: datetime


class Meeting(msgspec.Struct):
    at: datetime
    others: list[Met]
    seal: bytes
    by_hour: dict[int, datetime | None]


class Person(pydantic.BaseModel):
    name: str
    age: int


class Drawing(msgspec.Struct):
    title: Annotated[str, msgspec.Meta(max_length=5)]
    shapes: list[Circle | Square]
    origin: Point
    labels: dict[str, int] = {}
    pair: tuple[int, str] = (0, "")
    size: Size | None = None
    author: Person | None = None


def errors_of(kind: type[object], body: bytes) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        codec_for(kind).decode_json(body)
    return {flaw.pointer: flaw.code for flaw in caught.value.errors}


def test_every_error_is_listed_with_its_pointer() -> None:
    body = b"""{"title": "too long", "shapes": [{"type": "circle", "radius": -1}, {"type": "square"}],
        "origin": {"x": "1"}, "labels": {"a/b": "c"}, "pair": ["1", 2], "size": {}}"""

    assert errors_of(Drawing, body) == {
        "/title": "length",
        "/shapes/0/radius": "range",
        "/shapes/1/side": "missing",
        "/origin/x": "type",
        "/labels/a~1b": "type",
        "/pair/0": "type",
        "/pair/1": "type",
        "/size/width": "missing",
    }


def test_a_pydantic_model_lists_its_own_errors() -> None:
    body = b'{"title": "", "shapes": [], "origin": {"x": 1}, "author": {"age": "old"}}'

    assert errors_of(Drawing, body) == {"/author/name": "missing", "/author/age": "int_parsing"}


def test_pydantic_models_cross_as_data() -> None:
    codec = codec_for(Person)

    assert codec.decode(codec.encode(Person(name="Ada", age=36))) == Person(name="Ada", age=36)


@pytest.mark.parametrize("year", [1, 2026, 9999])
def test_moments_keep_their_offset_wherever_they_lie(year: int) -> None:
    east, west = (timezone(timedelta(hours=hours)) for hours in (5, -5))
    at = datetime(year, 1, 1, 1, tzinfo=east) if year < 9999 else datetime(year, 12, 31, 23, tzinfo=west)
    meeting = Meeting(at, [Met(at=at)], b"\x00\xff", {9: at, 10: None})
    codec = codec_for(Meeting)
    came = codec.decode(codec.encode(meeting))

    assert came == meeting
    assert came.at.utcoffset() == came.others[0].at.utcoffset() == at.utcoffset()


def test_what_cannot_be_told_apart_is_one_error_for_the_whole() -> None:
    assert errors_of(Drawing, b'{"title": "", "shapes": [7], "origin": {"x": 1}}') == {"/shapes/0": "type"}


def test_a_wrong_top_level_value_is_an_error_at_the_root() -> None:
    assert errors_of(Drawing, b"[]") == {"": "type"}


def test_the_list_of_errors_has_a_limit() -> None:
    body = msgspec.json.encode(["x"] * (FLAWS_MAX * 2))

    assert len(errors_of(list[int], body)) == FLAWS_MAX


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":}', b"\xff", b"[" * 100_000])
def test_bytes_that_are_not_json_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="expected JSON"):
        codec_for(Drawing).decode_json(body)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff"])
def test_bytes_that_are_not_messagepack_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="expected MessagePack"):
        codec_for(Drawing).decode(body)


def test_query_strings_may_hold_numbers_as_text() -> None:
    assert codec_for(dict[str, int]).convert({"limit": "10"}, strict=False) == {"limit": 10}
    with pytest.raises(Invalid, match="/limit"):
        codec_for(dict[str, int]).convert({"limit": "ten"}, strict=False)


def test_what_has_no_wire_form_is_refused_with_a_hint() -> None:
    with pytest.raises(NotImplementedError, match="use a Model"):
        encode(object())
    with pytest.raises(NotImplementedError, match="use a Model"):
        codec_for(type("Opaque", (), {})).decode(encode(1))


def test_a_flaw_says_where_what_and_how() -> None:
    with pytest.raises(Invalid) as caught:
        codec_for(Point).decode_json(b'{"x": null}')

    assert caught.value.errors == [Flaw("/x", "type", "Expected `int`, got `null`")]


@given(st.lists(st.builds(Point, x=st.integers(-(2**63), 2**63 - 1))))
def test_values_come_back_from_both_formats(points: list[Point]) -> None:
    codec = codec_for(list[Point])

    assert codec.decode(codec.encode(points)) == points
    assert codec.decode_json(codec.encode_json(points)) == points


def test_rich_types_come_back() -> None:
    codec = codec_for(tuple[Decimal, datetime])
    value = (Decimal("1.10"), datetime(2026, 1, 2, tzinfo=UTC))

    assert codec.decode(codec.encode(value)) == value
    assert codec.decode_json(codec.encode_json(value)) == value


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True), st.randoms())
def test_canonical_bytes_do_not_depend_on_the_order_of_what_has_none(numbers: list[int], draws: Random) -> None:
    shuffled = list(numbers)
    draws.shuffle(shuffled)
    one, other = ({"set": set(order), "table": dict.fromkeys(map(str, order), 1)} for order in (numbers, shuffled))
    assert canonical(one) == canonical(other)
    assert codec_for(dict[str, object]).decode(canonical(one))["set"] == sorted(numbers)


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {2: {3}}}, {1, "a"}])
def test_what_cannot_be_sorted_has_bytes_all_the_same(value: object) -> None:
    assert canonical(value) == encode(value)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Painted(msgspec.Struct):
    colour: Colour = Colour.RED
    finish: Literal["matt", "gloss"] | None = None
    many: Annotated[Literal[tuple(range(30))], msgspec.Meta(title="many")] = 0  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"colour": "green"}', "/colour: Invalid enum value 'green'; expected 'red', 'blue'"),
        (b'{"finish": "rough"}', "/finish: Invalid enum value 'rough'; expected 'matt', 'gloss'"),
        (b'{"many": 99}', ", 18, 19, and 10 more"),
    ],
)
def test_a_choice_that_is_none_is_told_with_those_that_are(body: bytes, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        codec_for(Painted).decode_json(body)
    assert told in str(caught.value)
    assert [flaw.code for flaw in caught.value.errors] == ["choice"]


@pytest.mark.parametrize("kind", [Headers, Line])
def test_who_asks_is_the_same_bytes_in_every_process(kind: type[Headers | Line]) -> None:
    """The scopes are a set of texts, and where they lie in it depends on the process."""
    headers = Headers(identity=Identity("ada", scopes=frozenset(SCOPES)))
    value = headers if kind is Headers else Line("ready", headers=headers)
    body = codec_for(kind).encode(value)
    assert sorted(SCOPES, key=lambda scope: body.index(scope.encode())) == SCOPES
    assert codec_for(kind).decode(body) == value


STORED = """
from hanse.kernel.codec import stored_json
from hanse.kernel.message import Headers, Identity
from hanse.service.job import Job
scopes = frozenset(f"scope-{number}" for number in range(9))
print(stored_json(Job(id="1", address="a.b", body=b"", headers=Headers(identity=Identity("ada", scopes=scopes)))))
"""


def test_a_row_with_a_set_is_the_same_bytes_in_every_process() -> None:
    def stored(seed: str) -> str:
        environ = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", STORED], env=environ, capture_output=True, check=True).stdout.hex()

    first = stored("1")
    assert b"scope-0" in bytes.fromhex(first)
    assert stored("2") == first


def test_a_row_without_sets_keeps_the_order_of_its_keys() -> None:
    class Tagged(msgspec.Struct):
        tags: dict[str, int]

    assert stored_json(Tagged({"b": 1, "a": 2})) == b'{"tags":{"b":1,"a":2}}'


def test_a_set_of_what_cannot_be_compared_is_stored_as_it_lies() -> None:
    class Mixed(msgspec.Struct):
        of: frozenset[int | str]

    assert sorted(msgspec.json.decode(stored_json(Mixed(frozenset({1, "a"}))))["of"], key=str) == [1, "a"]
