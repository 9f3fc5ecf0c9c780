"""What a store needs before a collection is opened: the same decision as opening it makes."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import CouldNotStart
from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.schema import Step, require_sound, steps

TYPES = st.sampled_from(["string", "integer", "number", "decimal", "datetime", "any"])
DEFAULTS = st.sampled_from([b"null", b"1"])
INSIDE = st.dictionaries(
    st.sampled_from(["", "x"]),
    st.recursive(
        st.builds(Inside, TYPES),
        lambda inner: st.builds(Inside, TYPES, st.dictionaries(st.sampled_from(["", "x"]), inner)),
        max_leaves=3,
    ),
)
FIELDS = st.builds(FieldSchema, TYPES, st.booleans(), DEFAULTS, INSIDE)


@st.composite
def schemas(draw: st.DrawFn) -> CollectionSchema:
    fields = draw(st.dictionaries(st.sampled_from("abc"), FIELDS))
    indexed = draw(st.sets(st.sampled_from(sorted(fields)))) if fields else set[str]()
    return CollectionSchema("orders", fields, tuple(sorted(indexed)))


@given(schemas(), schemas())
def test_a_step_is_refused_where_opening_would_be(stored: CollectionSchema, wanted: CollectionSchema) -> None:
    refused = any(step.change == "refuse" for step in steps(stored, wanted))
    if refused:
        with pytest.raises(CouldNotStart):
            require_sound({"orders": stored}, [wanted])
    else:
        require_sound({"orders": stored}, [wanted])


@given(schemas(), schemas())
def test_nothing_is_left_to_do_once_it_was_opened(stored: CollectionSchema, wanted: CollectionSchema) -> None:
    if any(step.change == "refuse" for step in steps(stored, wanted)):
        return
    [kept] = require_sound({"orders": stored}, [wanted])
    assert steps(kept, wanted) == []


def test_a_new_collection_is_one_step_and_its_indexes() -> None:
    wanted = CollectionSchema("orders", {"sku": FieldSchema("string", required=True)}, ("sku",))
    assert steps(None, wanted) == [
        Step("add", "orders", detail="sku"),
        Step("add", "orders", "sku", index=True, detail="built while nobody else writes"),
    ]


def test_an_index_that_is_not_declared_any_more_goes_and_a_field_stays() -> None:
    field = FieldSchema("string", required=True)
    stored = CollectionSchema("orders", {"sku": field, "old": field}, ("sku",))
    found = steps(stored, CollectionSchema("orders", {"sku": field}))
    assert [(step.change, step.field, step.index) for step in found] == [("keep", "old", False), ("drop", "sku", True)]


def test_what_lies_inside_a_field_and_compares_otherwise_is_told() -> None:
    def orders(**types: str) -> CollectionSchema:
        inside = {"": Inside("object", {name: Inside(kind) for name, kind in types.items()})}
        return CollectionSchema("orders", {"lines": FieldSchema("array", required=True, inside=inside)})

    found = steps(orders(price="decimal", at="datetime"), orders(price="decimal", due="date"))
    assert [step.change for step in found] == ["widen", "widen"]
    assert [step.detail for step in found] == [
        "[].due inside it compares as date, until now as any",
        "[].at inside it compares as any, until now as datetime",
    ]
