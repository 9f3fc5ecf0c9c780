"""Services in containers, released by the tags of their images, with a real container engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from hanse.deploy.control_words import Row
from hanse.deploy.guard import SEXTON
from hanse.deploy.linux import children_of, marked

from .engine import PORT, Engine, engine, why_not
from .systems import HANSE, WAIT_SECONDS, Running, looked, running, write
from .test_release import Visitors

if why := why_not():
    pytest.skip(why, allow_module_level=True)

SETTINGS = f"""
[edge]
port = 0

[services.web]
image = "shop/web:1"
port = {PORT}
route = "/"
instances = 2
environment = {{ SECRET = "${{TOKEN}}" }}

[services.near]
image = "shop/web:1"
command = "/bin/busybox httpd -f -p {{host}}:{{port}} -h /www"
route = "/near"
strip_prefix = true
needs = ["web"]
environment = {{ SECRET = "x", MANY = "two\\nlines" }}
"""

ALONE = f"""
[edge]
port = 0

[services.alone]
image = "shop/web:1"
port = {PORT}
route = "/"
"""


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    with engine() as docker:
        docker.image("shop/web:1", "one")
        docker.image("shop/web:2", "two")
        yield docker


@pytest.fixture(scope="module")
def system(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("images")
    (folder / ".env").write_text("TOKEN=never-on-a-command-line\n")
    with running(folder, SETTINGS, environment=docker.variables) as system:
        _ = system.ready()
        yield system
        assert system.end() == 0
        assert [name for name in docker.containers() if name != "alone-1"] == []


def web(system: Running) -> list[Row]:
    return [one for one in system.ready().instances if one.service == "web"]


def command_of(row: Row) -> int:
    """The process id of the engine's command that an instance consists of."""
    (found,) = (pid for pid in children_of(row.pid) if b"start\0--attach" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return found


def test_images_are_released_and_taken_back_and_no_request_is_lost(system: Running, docker: Engine) -> None:
    with Visitors(system.status().edge, 2, path="/index.html") as visitors:
        canary = ("--strategy", "canary", "--steps", "50,100", "--every", "0", "--requests", "20", "--bake", "0")
        done = system.hanse("release", "web", "--to", "2", *canary, "--wait")
        assert done.returncode == 0, done.stderr
        assert system.get("/index.html") == "two"
        done = system.hanse("release", "web", "--to", "shop/web:1", "--steps", "50,100", "--every", "1h")
        assert done.returncode == 0, done.stderr
        _ = system.rollout("web", lambda told: told.rollout.state == "stepping")
        assert system.hanse("rollout", "abort", "web").returncode == 0
        ended = system.over()
    assert ended.rollout.state == "rolled_back"
    assert set(visitors.seen) == {(200, "one"), (200, "two")}, visitors.seen
    assert system.get("/index.html") == "two"
    there = {one.instance for one in web(system)}
    assert {name for name in docker.containers() if name.startswith("web-")} == there


def test_an_image_that_is_not_there_is_refused_at_once(system: Running) -> None:
    before = {one.pid for one in web(system)}
    done = system.hanse("release", "web", "--to", "9")
    assert done.returncode == 1
    assert "there is no image shop/web:9 on this machine, and it cannot be pulled" in done.stderr
    assert {one.pid for one in web(system)} == before


@pytest.mark.parametrize("victim", ["what stands for it", "the engine's command", "the container"])
def test_one_that_is_killed_is_started_anew_and_leaves_nothing(system: Running, docker: Engine, victim: str) -> None:
    row = web(system)[0]
    gone, seen = docker.containers()[row.instance], len(system.lines)
    if victim == "what stands for it":
        os.kill(row.pid, signal.SIGKILL)
    elif victim == "the engine's command":
        os.kill(command_of(row), signal.SIGKILL)
    else:
        _ = docker.asked("kill", gone)
    seen = system.until(f"{row.instance} has ended", after=seen)
    _ = system.until(f"{row.instance} is ready", after=seen)
    left = docker.containers()
    assert gone not in left.values()
    assert {name for name in left if name.startswith("web-")} == {one.instance for one in web(system)}


def test_a_supervisor_that_is_killed_leaves_containers_as_they_are(system: Running, docker: Engine) -> None:
    _ = system.ready()
    before, seen = docker.containers(), len(system.lines)
    os.kill(system.status().supervisor, signal.SIGKILL)
    _ = system.until("another supervisor goes on with what runs", after=seen)
    _ = system.ready()
    assert docker.containers() == before


def test_a_container_is_handed_its_variables_and_nobody_reads_them_in_a_command(
    system: Running, docker: Engine
) -> None:
    row = web(system)[0]
    with urlopen(f"http://127.0.0.1:{row.port}/cgi-bin/told", timeout=WAIT_SECONDS) as answer:
        told = answer.read().decode().split()
    assert told == ["never-on-a-command-line", row.instance, row.release]
    commands = [file.read_bytes() for file in _commands()]
    assert any(b"docker\0start\0" in words for words in commands)
    assert not [words for words in commands if b"never-on" in words]
    variables = docker.asked("inspect", "--format", "{{json .Config.Env}}", docker.containers()[row.instance])
    assert not [one for one in json.loads(variables) if one.startswith(("HOME=", "DOCKER_HOST=", "HANSE_HANDED="))]


def _commands() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes():
                yield entry / "cmdline"


def test_one_without_a_port_is_on_the_machines_network_and_reaches_its_neighbours(system: Running) -> None:
    _ = system.ready()
    told = system.get("/near/cgi-bin/told").split()
    assert told[:3] == ["x", "two", "lines"]
    assert (told[3][:5], told[-1] in {"one", "two"}) == ("near-", True)


def test_what_a_container_takes_is_told_and_not_what_waiting_for_it_takes(system: Running) -> None:
    _ = system.ready()
    found = json.loads(system.hanse("top", "--json").stdout)
    figures = {one["instance"]: (one["processes"], one["memory_bytes"] < 8_000_000) for one in found}
    assert set(figures.values()) == {(2, True)}, found


def test_whoever_is_killed_with_it_no_container_outlives_a_system_for_long(docker: Engine, tmp_path: Path) -> None:
    with running(tmp_path, ALONE, environment=docker.variables) as system:
        _ = system.ready()
        theirs = {pid for pid in marked(f"{SEXTON}=1") if "-alone-1." in _words(pid)}
        assert len(theirs) == 1
        # Even those who clear away: as where a machine loses its power.
        for pid in (*theirs, system.process.pid, system.status().keeper):
            os.kill(pid, signal.SIGKILL)
        assert system.process.wait(WAIT_SECONDS) == -signal.SIGKILL
    left = docker.containers()["alone-1"]
    with running(tmp_path, ALONE, environment=docker.variables) as system:
        _ = system.until("took away what was left of an earlier run: 1 containers")
        _ = system.ready()
        assert docker.containers()["alone-1"] != left
        guard, keeper = system.process.pid, system.status().keeper
        os.kill(guard, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGKILL)
        _ = looked(docker.containers, lambda left: "alone-1" not in left)


def _words(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_an_engine_that_does_not_answer_is_told_before_anything_runs(docker: Engine, tmp_path: Path) -> None:
    variables = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none"}
    done = subprocess.run(
        [*HANSE, "up"],
        cwd=write(tmp_path, ALONE),
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 3, done.stderr
    assert "docker does not answer for its engine: Cannot connect" in done.stderr
