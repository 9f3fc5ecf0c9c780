"""`hanse new` as its users meet it: what it writes passes every check, its own tests, runs and answers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.cli.new import TEMPLATES

BIN = Path(sys.executable).parent
CHECKS = {
    "ruff": ("ruff", "check", "--no-cache", "."),
    "format": ("ruff", "format", "--no-cache", "--check", "."),
    "mypy": ("mypy", "--cache-dir", "../../mypy"),
    "pyright": ("basedpyright", "--pythonpath", sys.executable),
    "pytest": ("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
    "describe": ("hanse", "describe", "tea_shop.app"),
}
READY = {"minimal": "/notes", "rest": "/tasks", "events": "/letters"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all are written, and what mypy has learnt of Hanse is kept for the next."""
    return tmp_path_factory.mktemp("new")


@pytest.fixture(scope="module", params=TEMPLATES)
def template(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def written(template: str, workshop: Path) -> Path:
    """What a template comes to, which no test works in."""
    folder = workshop / template
    folder.mkdir()
    done = run(folder, "hanse", "new", "tea-shop", "--template", template)
    assert done.returncode == 0, done.stderr
    return folder / "tea-shop"


@pytest.fixture
def project(written: Path, workshop: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=workshop) as name:
        yield shutil.copytree(written, Path(name) / "tea-shop")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command[0], *command[1:]], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.PIPE
    )


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_written_passes(project: Path, check: str) -> None:
    done = run(project, *CHECKS[check])
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_runs_and_answers(project: Path, template: str) -> None:
    with subprocess.Popen(
        [BIN / "hanse", "run", "--port", "0"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().partition(": ")[2]
        with urllib.request.urlopen(url + READY[template], timeout=30) as answer:
            listed = json.load(answer)
        process.send_signal(signal.SIGTERM)
    assert (listed, process.returncode) == ({"items": [], "next": None}, 0)


def test_its_folder_holds_nothing_of_a_template(project: Path) -> None:
    texts = {path.relative_to(project).as_posix(): path.read_text() for path in project.rglob("*") if path.is_file()}
    assert {".gitignore", "README.md", "hanse.toml", "pyproject.toml", "tea_shop/py.typed"} <= texts.keys()
    assert not [path for path, text in texts.items() if "project_name" in path + text or "project-name" in text]
