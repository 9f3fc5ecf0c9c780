"""`hanse explain`: nothing of Hanse's is left unexplained."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import hanse.kernel.faults
from hanse.cli.advice import FAULTS, FLAWS, RUNS
from hanse.cli.explain import explanations, known_faults
from hanse.cli.group import hanse as command
from hanse.cli.output import tell_fault
from hanse.kernel.faults import Fault
from hanse.kernel.validate import _CODES
from hanse.sim.enclosure import FENCE, SHARED
from hanse.sim.failure import DIED, DIFFERS

KNOWN = sorted(known_faults(), key=lambda cls: (cls.code, cls.__qualname__))
SOURCES = Path(hanse.kernel.faults.__file__).parents[1]


def explain(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(command, ["explain", *arguments], env=environ)


def test_an_unknown_code_is_refused_with_what_was_probably_meant() -> None:
    refused = explain("conflct")
    assert refused.exit_code == 2
    assert "did you mean conflict?" in refused.stderr
    assert "`hanse explain` lists all" in explain("zzzzzzzz").stderr


@pytest.mark.parametrize("fault", KNOWN, ids=[cls.code for cls in KNOWN])
def test_every_fault_is_explained(fault: type[Fault]) -> None:
    one = next(one for one in explanations() if one.fault == f"{fault.__module__}.{fault.__qualname__}")
    assert (one.code, one.meaning[-1:], bool(one.do)) == (fault.code, ".", True)


def test_every_fault_has_advice_and_there_is_none_about_others() -> None:
    assert FAULTS.keys() == {cls.code for cls in KNOWN}


def test_no_two_faults_have_one_code() -> None:
    assert len({cls.code for cls in KNOWN}) == len(KNOWN)


FLAW = {"code", "detail"}


def flaws_told() -> Iterator[str]:
    """The codes that are written down where flaws are made, and where functions are called that take a code of one."""
    trees = [ast.parse(path.read_text()) for path in SOURCES.rglob("*.py")]
    calls = {
        node.name: names.index("code")
        for node in chain.from_iterable(map(ast.walk, trees))
        if isinstance(node, ast.FunctionDef)
        and {*(names := [one.arg for one in node.args.args if one.arg != "self"])} - {"at", "pointer"} == FLAW
    }
    calls |= {"Flaw": 1, "Wrong": calls.pop("__init__")}
    for node in chain.from_iterable(map(ast.walk, trees)):
        if isinstance(node, ast.Call) and (place := calls.get(_name_of(node.func))) is not None:
            yield from _constants(node.args[place : place + 1])


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _constants(found: list[ast.expr]) -> Iterator[str]:
    return (one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_every_flaw_that_is_told_is_explained() -> None:
    told = {*flaws_told(), *(code for _, code in _CODES)}
    assert told == FLAWS.keys()


def test_every_violation_that_a_run_tells_is_explained() -> None:
    source = "".join(path.read_text() for path in (SOURCES / "sim").glob("*.py"))
    told = {*re.findall(r'violate\("(\w+)"', source), FENCE, SHARED, DIED, DIFFERS}
    assert told == RUNS.keys()
    assert told <= {one.code for one in explanations() if one.kind == "violation"}


def test_a_code_is_explained_for_people_and_for_programs() -> None:
    told = explain("conflict").stdout
    assert told.startswith("conflict (fault)\n  Somebody else changed the same thing first")
    assert "conflict (flaw)" in told
    assert "hanse.kernel.faults.Conflict: HTTP 409, WebSocket 1008, exit code 1; another try may succeed" in told
    first, second = json.loads(explain("conflict", "--json").stdout)
    assert (first["kind"], first["status"], second["kind"]) == ("fault", 409, "flaw")
    assert explain("TooLarge").stdout.startswith("too_large (fault)")
    assert "\033[1mtoo_large" in explain("too_large", FORCE_COLOR="1").stdout


def test_all_are_listed() -> None:
    listed = json.loads(explain("--json").stdout)
    assert {one["kind"] for one in listed} == {"fault", "flaw", "violation", "exit code"}
    lines = explain("-q").stdout.splitlines()
    assert len(lines) == len(listed) == len(explanations())


def test_exit_codes_are_explained() -> None:
    assert explain("78").stdout.startswith("78 (exit code)\n  The configuration or a declaration is wrong.")


def test_a_terminal_is_told_where_more_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    tell_fault(hanse.kernel.faults.Conflict("taken"), terminal=True)
    tell_fault(hanse.kernel.faults.Conflict("taken"), terminal=False)
    assert capsys.readouterr().err == "hanse: taken\n  more: hanse explain conflict\nhanse: taken\n"
