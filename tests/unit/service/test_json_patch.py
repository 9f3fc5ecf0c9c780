"""JSON Patch (RFC 6902), by the RFC's own cases and by what hostile patches try."""

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Invalid, TooLarge
from hanse.service.json_patch import COPIED_MAX, OPERATIONS_MAX, STEPS_MAX, PatchConflict, json_patch, same

Json = Any

# Document, patch, result: RFC 6902, appendix A, under its headings there.
RFC: dict[str, tuple[Json, list[Json], Json]] = {
    "A.1": ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    "A.2": ({"foo": [1, 3]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2, 3]}),
    "A.3": ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    "A.4": ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
    "A.5": ({"baz": 1}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    "A.6": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7": ({"foo": [1, 2, 3, 4]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}], {"foo": [1, 3, 4, 2]}),
    "A.8": ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "qux"}], {"baz": "qux"}),
    "A.10": (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"a": {}}}],
        {"foo": "bar", "child": {"a": {}}},
    ),
    "A.11": ({"foo": 1}, [{"op": "add", "path": "/baz", "value": 2, "xyz": 123}], {"foo": 1, "baz": 2}),
    "A.14": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    "A.16": (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    "whole": ({"foo": 1}, [{"op": "replace", "path": "", "value": {"bar": 2}}], {"bar": 2}),
    "whole, added": ({"foo": 1}, [{"op": "add", "path": "", "value": {"bar": 2}}], {"bar": 2}),
    "gone": ({"foo": 1}, [{"op": "remove", "path": ""}], None),
    "copied": ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/a/0"}], {"a": [[1], 1]}),
    "moved onto itself": ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    "added after the last": ({"a": [1]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2]}),
    "numbers by value": ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
    "an empty name": ({"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
}


@pytest.mark.parametrize("case", RFC.values(), ids=list(RFC))
def test_it_does_as_the_rfc_says_and_leaves_the_document_alone(case: tuple[Json, list[Json], Json]) -> None:
    document, patch, result = case
    was = copy.deepcopy(document)

    assert same(json_patch(document, patch), result)
    assert document == was


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({}, ""),
        ([7], "/0"),
        ([{"path": "/a"}], "/0/op"),
        ([{"op": "twist", "path": "/a"}], "/0/op"),
        ([{"op": ["add"], "path": "/a"}], "/0/op"),
        ([{"op": "add", "value": 1}], "/0/path"),
        ([{"op": "add", "path": None, "value": 1}], "/0/path"),
        ([{"op": "add", "path": "a", "value": 1}], "/0/path"),
        ([{"op": "add", "path": "/~2", "value": 1}], "/0/path"),
        ([{"op": "add", "path": "/a~", "value": 1}], "/0/path"),
        ([{"op": "add", "path": "/a" * (STEPS_MAX + 1), "value": 1}], "/0/path"),
        ([{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/a"}], "/1/value"),
        ([{"op": "copy", "path": "/a"}], "/0/from"),
        ([{"op": "move", "from": "/b", "path": "/b/c"}], "/0/path"),
    ],
)
def test_a_patch_that_is_none_is_told_by_its_member(patch: Json, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        json_patch({"a": 1, "b": {}}, patch)

    assert caught.value.errors[0].pointer == pointer


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": True},
        {"op": "test", "path": "/x", "value": None},
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/a/y", "value": 1},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "add", "path": "/list/1e0", "value": 1},
        {"op": "add", "path": "/list/99999999999999999999", "value": 1},
        {"op": "remove", "path": "/list/-"},
        {"op": "remove", "path": "/list/2"},
        {"op": "replace", "path": "/list/-", "value": 1},
        {"op": "copy", "from": "/x", "path": "/y"},
        {"op": "move", "from": "/list/5", "path": "/y"},
    ],
)
def test_a_patch_that_does_not_fit_is_a_conflict_that_names_the_operation(operation: Json) -> None:
    with pytest.raises(PatchConflict) as caught:
        json_patch({"a": 1, "list": [1, 2]}, [{"op": "test", "path": "/a", "value": 1}, operation])

    assert caught.value.status == 409
    assert caught.value.errors[0].pointer == "/1"


def test_a_patch_has_a_limit_of_operations() -> None:
    operation = {"op": "test", "path": "", "value": {}}

    assert json_patch({}, [operation] * OPERATIONS_MAX) == {}
    with pytest.raises(TooLarge):
        json_patch({}, [operation] * (OPERATIONS_MAX + 1))


def test_copies_that_double_the_document_come_to_an_end() -> None:
    doubling = [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(40)]

    with pytest.raises(TooLarge) as caught:
        json_patch({}, doubling)
    assert caught.value.limit == f"{COPIED_MAX} values"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("a~/", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "~", "/"]), inner, max_size=3)
    ),
    max_leaves=8,
)
pointers = st.lists(st.sampled_from(["a", "b", "~0", "~1", "0", "1", "-", ""]), max_size=3).map(
    lambda names: "".join(f"/{name}" for name in names)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": pointers},
    optional={"from": pointers, "value": values},
)


@given(values, st.lists(operations, max_size=4))
def test_any_patch_works_or_is_refused_and_changes_nothing_of_what_was(document: Json, patch: list[Json]) -> None:
    was = copy.deepcopy(document)
    with suppress(Invalid, PatchConflict):
        assert same(json_patch(document, patch), _reference(copy.deepcopy(document), patch))
    assert same(document, was)


def _reference(document: Json, patch: list[Json]) -> Json:
    """The same, step by step on a document that is changed in place, as the RFC tells it."""
    for one in patch:
        match one["op"]:
            case "test":
                continue
            case "add":
                document = _add(document, one["path"], one["value"])
            case "remove":
                document = _remove(document, one["path"])
            case "replace":
                document = (
                    one["value"] if not one["path"] else _add(_remove(document, one["path"]), one["path"], one["value"])
                )
            case "copy":
                document = _add(document, one["path"], copy.deepcopy(_at(document, one["from"])))
            case _:
                moved = _at(document, one["from"])
                document = _add(_remove(document, one["from"]), one["path"], moved)
    return document


def _names(pointer: str) -> list[str]:
    return [name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/")[1:]]


def _at(document: Json, pointer: str) -> Json:
    for name in _names(pointer):
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


def _add(document: Json, pointer: str, value: Json) -> Json:
    if not pointer:
        return value
    parent, name = _at(document, pointer.rpartition("/")[0]), _names(pointer)[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if name == "-" else int(name), value)
    else:
        parent[name] = value
    return document


def _remove(document: Json, pointer: str) -> Json:
    if not pointer:
        return None
    parent, name = _at(document, pointer.rpartition("/")[0]), _names(pointer)[-1]
    del parent[int(name) if isinstance(parent, list) else name]
    return document
