"""Each fault point is written down once, and stands in the code once."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import hanse
from hanse.kernel.fault_point import POINTS, arm, fault_point

PACKAGE = Path(hanse.__file__).parent


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fault_point":
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_each_point_is_named_by_a_literal_alone() -> None:
    unnamed = [
        place
        for place, call in calls()
        if len(call.args) != 1 or call.keywords or not isinstance(call.args[0], ast.Constant)
    ]
    assert unnamed == []


def test_the_code_and_the_registry_have_the_same_points_each_once() -> None:
    found = Counter(str(call.args[0].value) for _, call in calls() if isinstance(call.args[0], ast.Constant))
    assert found.keys() == set(POINTS)
    # Each store commits in ways of its own; elsewhere a name stands for one place.
    assert {point for point, places in found.items() if places > 1} <= {"store.before_commit", "store.after_commit"}


def test_names_are_layer_and_point_and_say_what_is_so_there() -> None:
    for name, meaning in POINTS.items():
        layer, dot, point = name.partition(".")
        assert layer.isidentifier(), name
        assert (dot, point.isidentifier()) == (".", True), name
        assert meaning, name


def test_the_registry_is_frozen() -> None:
    with pytest.raises(TypeError):
        POINTS["x.y"] = "new"  # type: ignore[index]


def test_a_hook_is_called_until_another_or_none_is_armed() -> None:
    first: list[str] = []
    second: list[str] = []
    arm(first.append)
    try:
        fault_point("relay.taken")
        arm(second.append)
        fault_point("relay.acknowledged")
    finally:
        arm(None)
    fault_point("relay.before_save")
    assert (first, second) == (["relay.taken"], ["relay.acknowledged"])
