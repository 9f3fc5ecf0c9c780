"""Systems with servers of their own, and those that a Procfile describes, as `hanse up` runs them."""

from __future__ import annotations

import os
import shutil
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.control.procfile import as_toml
from hanse.deploy.control_words import Row
from hanse.deploy.procfile import procfile_layer
from hanse.deploy.project import Project, settings_of
from hanse.deploy.resources.programs import installed

from .systems import PYTHON, SETTINGS, WEB, Running, hanse, running, write

SERVED = f"""
edge.port = 0

[resources.cache]
kind = "redis"

[services.web]
command = "{PYTHON} web.py {{host}} {{port}}"
route = "/"
environment = {{ GREETING = "resource:cache" }}
"""

PROCFILE = f"""
# What runs
web: {PYTHON} web.py 127.0.0.1 $PORT
worker: echo listening nowhere; exec sleep 1000
release: echo migrated
"""


def rows(system: Running, service: str) -> list[Row]:
    return [one for one in system.status().instances if one.service == service]


# Servers


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    if not installed("redis"):
        pytest.skip("there is no server of Redis's protocol for this machine")
    with running(tmp_path_factory.mktemp("served"), SERVED) as system:
        _ = system.ready()
        yield system


def test_a_server_that_cannot_be_is_told_before_anything_runs(tmp_path: Path) -> None:
    done = hanse(write(tmp_path, SETTINGS + "\n[resources.web]\nkind = 'redis'"), "up")
    assert (done.returncode, "resources.web: a service has that name" in done.stderr) == (78, True), done.stderr


def test_whoever_mentions_a_server_starts_after_it_and_knows_where_it_is(served: Running) -> None:
    ready = served.until("cache-1 is ready")
    assert served.until("web-1 starts") > ready
    (cache,) = rows(served, "cache")
    name, url, path = served.get("/there").split(" ")
    assert (name, path) == ("web-1", "/there")
    assert url.startswith("redis://:")
    assert url.endswith(f"@127.0.0.1:{cache.port}/0")


def test_a_server_that_is_killed_is_started_at_its_place_and_nobody_else_is(served: Running) -> None:
    (before,) = rows(served, "cache")
    (web,) = rows(served, "web")
    seen = len(served.lines)
    os.kill(before.pid, signal.SIGKILL)
    served.until("cache-1 is ready", after=seen)
    (after,) = rows(served, "cache")
    assert (after.port, after.pid != before.pid) == (before.port, True)
    assert rows(served, "web")[0].pid == web.pid


def test_settings_that_are_written_leave_a_server_that_runs_alone(served: Running) -> None:
    (before,) = rows(served, "cache")
    seen = len(served.lines)
    write(served.folder, SERVED.replace("edge.port", "# again\nedge.port"))
    served.until("the settings were read anew", after=seen)
    assert [one.pid for one in rows(served, "cache")] == [before.pid]


# A Procfile


def procfile(folder: Path, text: str = PROCFILE) -> Path:
    (folder / "web.py").write_text(WEB)
    (folder / "Procfile").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        ("web serve", (), "Procfile line 1: expected `name: command`, got 'web serve'"),
        (PROCFILE, ("--formation", "wrker=2"), "--formation: there is no service 'wrker'; did you mean worker?"),
        (PROCFILE, ("-f", "Procfile.dev"), "Procfile.dev: cannot be read: "),
    ],
)
def test_a_procfile_that_cannot_be_used_is_told(
    tmp_path: Path, text: str, arguments: tuple[str, ...], told: str
) -> None:
    done = hanse(procfile(tmp_path, text), "up", *arguments)
    assert (done.returncode, told in done.stderr) == (78, True), done.stderr


def test_a_procfile_that_is_too_large_is_refused(tmp_path: Path) -> None:
    done = hanse(procfile(tmp_path, "#" * (1024 * 1024 + 1)), "up")
    assert (done.returncode, "Procfile: expected at most 1048576 bytes" in done.stderr) == (78, True), done.stderr


def test_a_folder_with_a_procfile_runs(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GREETING=Moin\n")
    with running(procfile(tmp_path), "edge.port = 0\n", "--formation", "web=2") as system:
        status = system.ready()
        assert [one.instance for one in status.instances] == ["web-1", "web-2", "worker-1"]
        assert {system.get("/").split(" ")[1] for _ in range(2)} == {"Moin"}
        assert system.end() == 0


def test_what_the_settings_say_of_a_service_of_a_procfile_is_meant(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text("[services.web]\nroute = '/shop'\ninstances = 3\n")
    web = settings_of(Project(procfile(tmp_path)), {}).services["web"]
    assert (web.route, web.instances, web.release_hook) == ("/shop", 3, "echo migrated")


def test_a_procfile_is_left_alone_where_the_settings_say_what_runs(tmp_path: Path) -> None:
    folder = procfile(write(tmp_path), "what is this")
    assert list(settings_of(Project(folder), {}).services) == ["web", "store"]
    shutil.copy(folder / "Procfile", folder / "Procfile.dev")
    (folder / "Procfile.dev").write_text("clock: tick")
    named = settings_of(Project(folder, "Procfile.dev"), {})
    assert "clock" in named.services


def test_a_procfile_is_written_as_settings_once(tmp_path: Path) -> None:
    done = hanse(procfile(tmp_path), "up", "--write")
    assert (done.returncode, done.stderr) == (0, f"wrote {tmp_path}/hanse.toml\n")
    written = (tmp_path / "hanse.toml").read_text()
    assert written == as_toml(procfile_layer(tmp_path / "Procfile"))
    assert list(tomllib.loads(written)["services"]) == ["web", "worker"]
    again = hanse(tmp_path, "up", "--write")
    assert (again.returncode, "is there already" in again.stderr) == (78, True), again.stderr
