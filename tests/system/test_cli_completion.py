"""Completion as a shell asks for it: bash itself where it can, else by the variables that its script sets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.cli.complete import Kept, file_for, write

from .served import serving

BIN = Path(sys.executable).parent
GREET = """
from hanse import App, Service, rpc

class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return name

class Other: ...

greeting = App("greet", Greeter)
"""
ASK = """
eval "$(hanse completion bash)"
COMP_WORDS=({words}); COMP_CWORD={at}
_hanse_completion hanse
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "greet.py").write_text(GREET)
    return tmp_path


def environ(folder: Path, **more: str) -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache"), **more}


def asked(folder: Path, *words: str, **more: str) -> list[str]:
    """What is offered for the last word."""
    given = {"_HANSE_COMPLETE": "zsh_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        ["hanse"], cwd=folder, capture_output=True, text=True, check=True, env=environ(folder, **given, **more)
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[1::3]


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with serving(folder, "greet.py") as url:
        yield url


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hanse de", ["dev", "describe", "deadletters"]),
        ("hanse new x --temp", ["--template"]),
        ("hanse explain key_r", ["key_reused"]),
    ],
)
def test_bash_completes_verbs_options_and_codes(folder: Path, words: str, expected: list[str]) -> None:
    ask = ASK.format(words=words, at=len(words.split()) - 1)
    done = subprocess.run(
        ["bash", "-c", ask], cwd=folder, capture_output=True, text=True, check=True, env=environ(folder)
    )
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_script_asks_us(folder: Path, shell: str) -> None:
    done = subprocess.run(
        ["hanse", "completion", shell], cwd=folder, capture_output=True, text=True, check=True, env=environ(folder)
    )
    assert f"_HANSE_COMPLETE={shell}_complete" in done.stdout


def test_behind_a_colon_stands_what_can_be_run(folder: Path) -> None:
    assert asked(folder, "hanse", "run", "greet.py:") == ["greet.py:Greeter", "greet.py:greeting"]
    assert asked(folder, "hanse", "run", "greet:greeti") == ["greet:greeting"]
    assert asked(folder, "hanse", "run", "nothing.py:") == []


def test_values_that_a_setting_lists_are_offered(folder: Path) -> None:
    assert asked(folder, "hanse", "run", "--events", "") == ["log", "broker"]
    assert asked(folder, "hanse", "run", "--log-format", "j") == ["json"]
    assert asked(folder, "hanse", "run", "--transport", "") == []


def test_operations_are_asked_for_once_and_kept(folder: Path, url: str) -> None:
    assert asked(folder, "hanse", "call", "--url", url, "gr") == ["greeter.hello"]
    kept = next((folder / "cache").rglob("*.json"))
    kept.write_text(kept.read_text().replace("greeter.hello", "greeter.kept"))
    assert asked(folder, "hanse", "call", "gr", HANSE_URL=url) == ["greeter.kept"]
    kept.write_text("torn")
    assert asked(folder, "hanse", "call", "gr", HANSE_URL=url) == ["greeter.hello"]


def test_what_was_kept_will_do_where_nobody_answers(folder: Path) -> None:
    gone = "http://127.0.0.1:1"
    assert asked(folder, "hanse", "call", "gr", HANSE_URL=gone) == []
    file = file_for(gone, {"XDG_CACHE_HOME": str(folder / "cache")})
    write(file, Kept(1.0, ["greeter.hello", "greeter.$(rm)"], ["greetings"], ["greeted"]))
    assert asked(folder, "hanse", "call", "gr", HANSE_URL=gone) == ["greeter.hello"]
    assert asked(folder, "hanse", "events", "gr", HANSE_URL=gone) == ["greetings", "greeted"]
    assert asked(folder, "hanse", "emit", "gr", HANSE_URL=gone) == ["greeted"]
    assert asked(folder, "hanse", "events", "gr", HANSE_URL="no url") == []
