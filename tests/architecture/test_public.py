"""What the package shows to its users: documented names, examples that run, an import that does nothing else."""

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import hanse

# Imports the package in a fresh interpreter and prints what that changed besides sys.modules.
PROBE = """
import json, logging, os, signal, sys, threading, warnings

def state():
    handlers = [str(signal.getsignal(s)) for s in signal.valid_signals()]
    return [handlers, dict(os.environ), [str(h) for h in logging.root.handlers], str(warnings.filters),
            threading.active_count(), sys.excepthook is sys.__excepthook__, os.getcwd()]

before = state()
import hanse
heavy = {"starlette", "uvicorn", "pydantic", "opentelemetry.sdk", "rich"}
print(json.dumps([before == state(), sorted(heavy & set(sys.modules))]))
"""


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(hanse.__path__, "hanse.")]
    return ["hanse", *(name for name in found if not name.endswith("__main__"))]


@pytest.mark.parametrize("name", hanse.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value: object = getattr(hanse, name)
    # An alias such as Change has no place for one.
    assert inspect.getdoc(value) or not (inspect.isclass(value) or inspect.isroutine(value))


def test_public_names_are_listed_once_and_in_order() -> None:
    assert sorted(set(hanse.__all__)) == list(hanse.__all__)


def test_nothing_private_is_public() -> None:
    assert [name for name in hanse.__all__ if name.startswith("_") and name != "__version__"] == []


@pytest.mark.parametrize("name", modules())
def test_every_example_in_a_docstring_runs(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(importlib.import_module(name), optionflags=flags).failed == 0


def test_importing_the_package_does_nothing_else() -> None:
    printed = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [True, []]
