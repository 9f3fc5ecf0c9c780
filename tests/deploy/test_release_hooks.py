"""Commands that are run once per rollout, with real processes, where something goes wrong meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .systems import PYTHON, Running, looked, running
from .test_release import SERVER

SETTINGS = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} serve.py {{host}} {{port}}"
directory = "one"
route = "/"
stop_grace = 1
release_hook = "[ ! -f deaf ] || trap '' TERM; echo $$ >> began; while [ ! -f go ]; do sleep 0.1; done; exit $(cat go)"
"""
"""The hook tells who it is, and ends when it is told with which code; where there is `deaf`, SIGTERM ends nothing."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hooks")
    for name in ("one", "aborted", "deaf", "killed", "failed"):
        (folder / name).mkdir()
        (folder / name / "serve.py").write_text(SERVER + f"# {name}")
    (folder / "deaf" / "deaf").touch()
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system


def began(system: Running, name: str) -> tuple[Path, int]:
    """A release whose hook runs: its folder, and the process of the hook."""
    done = system.hanse("release", "web", "--to", f"../{name}", "--strategy", "blue-green", "--bake", "0")
    assert done.returncode == 0, done.stderr
    place = system.folder / name
    (process,) = looked(lambda: written(place / "began"), bool)
    return place, int(process)


def written(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def end(place: Path, code: int) -> None:
    """Have a hook end with a code, which it finds written whole."""
    (place / "code").write_text(str(code))
    (place / "code").rename(place / "go")


def test_an_abort_ends_the_hook_and_is_over_when_that_has_ended(system: Running) -> None:
    _, process = began(system, "aborted")
    os.kill(process, 0)
    assert system.hanse("rollout", "abort", "web").returncode == 0
    assert system.over().rollout.state == "rolled_back"
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    again = system.hanse("release", "web", "--to", "../aborted", "--breaking")
    assert "was rolled back" not in again.stderr, "nobody said that it is bad"
    assert system.hanse("rollout", "abort", "web").returncode == 0
    assert system.over().rollout.state == "rolled_back"


def test_a_hook_that_does_not_hear_is_killed_after_its_grace(system: Running) -> None:
    _, process = began(system, "deaf")
    assert system.hanse("rollout", "abort", "web").returncode == 0
    assert system.over().rollout.state == "rolled_back"
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    told = system.hanse("rollout", "status", "web").stdout
    assert "aborted" in told
    assert "release hook failed" not in told, "it was ended by whoever aborted it"


def test_a_supervisor_that_is_killed_amid_a_hook_is_followed_by_one_that_waits_for_it(system: Running) -> None:
    place, _ = began(system, "killed")
    before = system.status().supervisor
    os.kill(before, signal.SIGKILL)
    end(place, 0)
    assert system.over().rollout.state == "done"
    assert system.status().supervisor != before
    assert len((place / "began").read_text().split()) == 1, "once"


def test_a_hook_that_fails_is_told_and_nothing_of_the_release_is_started(system: Running) -> None:
    page = system.get("/page")
    place, _ = began(system, "failed")
    end(place, 7)
    assert system.over().rollout.state == "rolled_back"
    assert "the release hook failed: exit code 7" in system.hanse("rollout", "status", "web").stdout
    assert system.get("/page") == page
