"""JSON Merge Patch, by the RFC's own cases and by its own words."""

import copy
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hanse.service.shape import merge_patch

Json = Any

# Document, patch, result: RFC 7396, appendix A, row by row.
RFC: list[tuple[Json, Json, Json]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("document", "patch", "result"), RFC)
def test_it_does_as_the_rfc_says(document: Json, patch: Json, result: Json) -> None:
    assert merge_patch(document, patch) == result


@given(values, values)
def test_it_does_as_the_rfc_tells_it_and_leaves_the_document_alone(document: Json, patch: Json) -> None:
    was = copy.deepcopy(document)

    assert merge_patch(document, patch) == _reference(copy.deepcopy(document), patch)
    assert document == was


@given(values, values)
def test_twice_is_once(document: Json, patch: Json) -> None:
    once = merge_patch(document, patch)

    assert merge_patch(once, patch) == once


def _reference(target: Json, patch: Json) -> Json:
    """RFC 7396, section 2, word for word, on a document that is changed in place."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = _reference(target.get(name), value)
    return target
