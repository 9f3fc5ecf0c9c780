"""`hanse run --source`: the code of another release, in the folder of this one's settings."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .test_cli_run import hanse, running

APP = """
from words import GREETING
from hanse import App, Service, rpc

class Greeter(Service):
    name: str = "you"

    @rpc
    async def hello(self) -> str:
        return f"{GREETING}, {self.name}!"

app = App("greet", Greeter)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, greeting in ((tmp_path, "Hello"), (tmp_path / "two", "Hi")):
        place.mkdir(exist_ok=True)
        (place / "greet.py").write_text(APP)
        (place / "words.py").write_text(f"GREETING = {greeting!r}")
    (tmp_path / "hanse.toml").write_text('[services.greeter.settings]\nname = "Ada"')
    return tmp_path


@pytest.mark.parametrize("target", ["greet.py", "greet", "greet:app"])
def test_code_comes_from_there_and_settings_from_here(folder: Path, target: str) -> None:
    with running(folder, target, "--source", "two") as run:
        assert hanse(folder, "call", "greeter.hello", "--url", run.url()).stdout == '"Hi, Ada!"\n'
        assert run.end(signal.SIGTERM) == 0


def test_what_it_lacks_is_not_taken_from_here(folder: Path) -> None:
    (folder / "two" / "words.py").unlink()
    refused = hanse(folder, "run", "greet.py", "--source", "two")
    assert refused.returncode == 3
    assert "No module named 'words'" in refused.stderr


def test_a_module_that_is_only_installed_is_no_release(folder: Path) -> None:
    refused = hanse(folder, "run", "hanse.kernel.faults:Fault", "--source", "two")
    assert refused.returncode == 78
    assert "expected hanse.kernel.faults:Fault in " in refused.stderr
    assert "such as app =" in refused.stderr


def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    refused = hanse(folder, "run", "greet.py", "--source", "three")
    assert refused.returncode == 2
    assert "three" in refused.stderr
