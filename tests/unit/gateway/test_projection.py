"""Some fields of a row, cut out of its bytes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.contract.model import Model, Resource
from hanse.gateway.fields import Wrong
from hanse.gateway.limits import NAMES_MAX
from hanse.gateway.projection import names_of, projection


class City(Model):
    name: str
    zip: str = ""


class Line(Model):
    sku: str
    city: City | None = None


class Order(Resource):
    sku: str
    city: City | None = None
    lines: list[Line] = msgspec.field(default_factory=list)
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    shelf_mark: str = msgspec.field(default="", name="shelfMark")


ROW = Order(
    id="1",
    rev=7,
    sku='"tea"',
    city=City(name="Köln", zip="50667"),
    lines=[Line(sku="a", city=City(name="Bonn")), Line(sku="b")],
    labels={"x": 1, "y": 2},
    shelf_mark="A",
)


def cut(names: str, row: Order = ROW) -> Any:  # noqa: ANN401 - JSON
    project = projection(Order, names_of(names))
    assert project is not None
    return msgspec.json.decode(project(msgspec.json.encode(row)))


@pytest.mark.parametrize("name", ["color", "city.color", "sku.x", "lines.0", "lines.sku.x", "", ".", "city."])
def test_a_name_that_leads_nowhere_names_what_there_is(name: str) -> None:
    with pytest.raises(Wrong) as caught:
        projection(Order, [name or "."])

    assert caught.value.flaw.pointer == "/fields"


def test_there_is_a_limit_of_names() -> None:
    with pytest.raises(Wrong):
        projection(Order, [f"labels.{n}" for n in range(NAMES_MAX + 1)])


def test_no_name_is_the_whole_row() -> None:
    assert projection(Order, names_of(" , ")) is None


@pytest.mark.parametrize(
    ("names", "rest"),
    [
        ("sku", {"sku": '"tea"'}),
        ("shelfMark, sku", {"shelfMark": "A", "sku": '"tea"'}),
        ("city.name", {"city": {"name": "Köln"}}),
        ("city.name,city", {"city": {"name": "Köln", "zip": "50667"}}),
        ("city,city.name", {"city": {"name": "Köln", "zip": "50667"}}),
        ("lines.sku", {"lines": [{"sku": "a"}, {"sku": "b"}]}),
        ("lines.city.name", {"lines": [{"city": {"name": "Bonn"}}, {"city": None}]}),
        ("labels.y,labels.z", {"labels": {"y": 2}}),
        ("id,rev", {}),
    ],
)
def test_only_the_fields_that_are_named_are_left(names: str, rest: dict[str, object]) -> None:
    assert cut(names) == {"id": "1", "rev": 7, **rest}


def test_null_stays_null() -> None:
    assert cut("city.name", Order(id="1", sku="tea")) == {"id": "1", "rev": 0, "city": None}


@given(st.text(), st.dictionaries(st.text(), st.integers(-(2**63), 2**63 - 1), max_size=3))
def test_what_is_kept_is_kept_to_the_byte(sku: str, labels: dict[str, int]) -> None:
    row = Order(id="1", sku=sku.encode(errors="replace").decode(), labels=labels)

    assert cut("sku,labels,city,lines,shelfMark", row) == msgspec.json.decode(msgspec.json.encode(row))


@pytest.mark.parametrize("key", ['"', "\\", "\x1b", "a\x00b"])
def test_a_key_that_json_writes_otherwise_is_refused(key: str) -> None:
    with pytest.raises(Wrong) as caught:
        projection(Order, [f"labels.{key}"])

    assert caught.value.flaw.pointer == "/fields"
    assert "ask for labels" in caught.value.flaw.detail


@given(st.text(min_size=1).filter(lambda key: not {",", "."} & set(key) and key.strip() == key))
def test_any_key_is_cut_out_or_refused(key: str) -> None:
    labels = {key.encode(errors="replace").decode(): 1}
    try:
        shown = cut(f"labels.{next(iter(labels))}", Order(id="1", sku="tea", labels=labels))
    except Wrong:
        return
    assert shown["labels"] == labels
