"""`hanse new` as its users meet it: what it writes passes every check, its own tests, runs and answers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from hanse.cli.new import TEMPLATES

BIN = Path(sys.executable).parent
CHECKS = {
    "ruff": ("ruff", "check", "--no-cache", "."),
    "format": ("ruff", "format", "--no-cache", "--check", "."),
    "mypy": ("mypy",),
    "pyright": ("basedpyright", "--pythonpath", sys.executable),
    "pytest": ("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
    "describe": ("hanse", "describe", "tea_shop.app"),
}
READY = {"minimal": "/notes", "rest": "/tasks", "events": "/letters"}


@pytest.fixture(params=TEMPLATES)
def template(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(template: str, tmp_path: Path) -> Path:
    run(tmp_path, "hanse", "new", "tea-shop", "--template", template)
    return tmp_path / "tea-shop"


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
