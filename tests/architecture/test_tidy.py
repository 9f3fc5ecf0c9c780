"""Holds the numbers of our style, so that a file or a function that grows is noticed the day it does.

A docstring is not counted as part of its function: nobody is to save on words.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

# They run nothing of the package, and many lines of their own.
pytestmark = pytest.mark.usefixtures("untraced")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "hanse"

FILE_LINES_MAX = 600
FILE_LINES_USUAL = 150
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_USUAL = 20
PARAMETERS_MAX = 6
TYPE_CHECKING_IMPORTS_MAX = 9

# "module.qualified_name": the reason why it is better longer or wider than the style asks for.
LONG_FUNCTIONS: dict[str, str] = {}
WIDE_FUNCTIONS = {
    "hanse.contract.declare.rpc": "all that may be said of an operation, by name; most say nothing",
    "hanse.service.reaction.rule": "all that may be said of a rule, by name; most say little",
    "hanse.gateway.gateway.Gateway.__init__": "all that a gateway may be told once, by name; most say nothing",
}
TYPE_CHECKING_MODULES = {"hanse": "shows the public names to type checkers, and imports them when they are asked for"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Measure:
    """One function of the package, and its size."""

    name: str
    lines: int
    parameters: int


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """A source, parsed once for all tests."""
    return ast.parse(path.read_text())


@cache
def functions() -> list[Measure]:
    return [one for path in sources() for one in _functions_in(tree_of(path), module_of(path))]


def _functions_in(node: ast.AST, prefix: str) -> Iterator[Measure]:
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}.{child.name}" if isinstance(child, Function | ast.ClassDef) else prefix
        if isinstance(child, Function):
            yield Measure(name, _lines(child), _parameters(child))
        yield from _functions_in(child, name)


def _lines(function: Function) -> int:
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _parameters(function: Function) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in {"self", "cls", "mcls"}])


def imports() -> dict[str, set[str]]:
    """Which modules each module imports, wherever in it; those that a package imports for others do not count."""
    trees = {module_of(path): tree_of(path) for path in sources() if path.parent != PACKAGE}
    return {module: set(_imported(tree)) & trees.keys() for module, tree in trees.items()}


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_function_is_longer_than_a_screen() -> None:
    long = {f.name: f.lines for f in functions() if f.lines > FUNCTION_LINES_MAX}
    assert long.keys() == LONG_FUNCTIONS.keys()


def test_nine_functions_in_ten_are_short() -> None:
    sizes = [f.lines for f in functions()]
    assert len([n for n in sizes if n < FUNCTION_LINES_USUAL]) >= 0.9 * len(sizes)


def test_no_function_takes_too_many_parameters() -> None:
    wide = {f.name: f.parameters for f in functions() if f.parameters > PARAMETERS_MAX}
    assert wide.keys() == WIDE_FUNCTIONS.keys()


def test_no_file_is_too_long() -> None:
    assert {module_of(p): n for p in sources() if (n := len(p.read_text().splitlines())) > FILE_LINES_MAX} == {}


def test_half_of_the_files_are_short() -> None:
    sizes = [len(path.read_text().splitlines()) for path in sources()]
    assert len([n for n in sizes if n < FILE_LINES_USUAL]) >= 0.5 * len(sizes)


def test_no_imports_go_in_a_circle() -> None:
    circle: list[str] = []
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def test_imports_for_type_checkers_only_are_rare() -> None:
    blocks = [
        node
        for path in sources()
        if module_of(path) not in TYPE_CHECKING_MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    assert sum(len(block.body) for block in blocks) <= TYPE_CHECKING_IMPORTS_MAX


def places_named() -> Iterator[str]:
    """The files and folders in the last column of the tables of ARCHITECTURE.md; a folder holds for what follows."""
    folder = ""
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        cells = line.split(" | ") if line.startswith("| ") else [""]
        for place in re.findall(r"`([a-z_/*]+(?:\.py|/))`", cells[-1]):
            folder = place.rpartition("/")[0] or folder
            yield place if "/" in place else f"{folder}/{place}"


def test_what_the_architecture_names_is_there() -> None:
    named = set(places_named())
    assert len(named) > 50
    assert {place for place in named if not list(PACKAGE.glob(place))} == set()


def test_tests_patch_nothing() -> None:
    patching = {"monkeypatch", "mocker"}
    guilty = {
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function) and patching & {argument.arg for argument in node.args.args}
    }
    assert guilty == set()
