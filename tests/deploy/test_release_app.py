"""Releases of the services of an app, with real processes and requests that go on all the time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hanse.deploy.release_words import ReleasesTold

from .systems import Running, running
from .test_release import Visitors

APP = """
import os
from hanse import App, Gateway, Service, rpc
from prices import TEA


class Till(Service):
    @rpc(idempotent=True)
    async def price(self) -> str:
        return TEA


class Cafe(Service):
    till: Till

    @rpc(idempotent=True, route="GET /page")
    async def tea(self) -> str:
        return await self.till.price()


app = App("cafe", Cafe, Till, gateway=Gateway().rpc(Cafe))
"""

SETTINGS = """
app = "cafe.py"

[edge]
port = 0

[services.till]
instances = 2
release_hook = "echo $PWD $HANSE_SOURCE >> hooks"
"""


def release(folder: Path, name: str) -> Path:
    """The code of a release, in a folder of its own: what it charges is its name."""
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "cafe.py").write_text(APP)
    (place / "prices.py").write_text(f"TEA = {name!r}")
    return place


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("app")
    _ = release(folder, ".")
    for name in ("two", "three", "four", "five"):
        _ = release(folder, name)
    _ = breaking(folder)
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system


def breaking(folder: Path) -> Path:
    """A release whose till wants to know more than the cafe says."""
    place = release(folder, "breaking")
    (place / "cafe.py").write_text(
        APP.replace("def price(self)", "def price(self, size: int)").replace(".price()", ".price(1)")
    )
    return place


def told_of(system: Running) -> ReleasesTold:
    return msgspec.json.decode(system.hanse("rollout", "status", "--json").stdout, type=ReleasesTold)


def test_a_service_of_the_app_comes_and_goes_and_no_call_is_lost(system: Running) -> None:
    hooks = system.folder / "hooks"
    before = len(hooks.read_text().splitlines()) if hooks.exists() else 0
    first = system.get("/page")
    with Visitors(system.status().edge) as visitors:
        for name, *how in (("two", "rolling", "--every", "0", "--bake", "0"), ("three", "blue-green", "--bake", "1s")):
            done = system.hanse("release", "till", "--to", name, "--strategy", *how, "--wait")
            assert done.returncode == 0, done.stderr
            assert told_of(system).releases["till"] == name
    assert {status for status, _ in visitors.seen} == {200}, visitors.seen
    assert {answer for _, answer in visitors.seen} == {first, '"two"', '"three"'}
    here = system.folder.resolve()
    assert hooks.read_text().splitlines()[before:] == [f"{here} {here / name}" for name in ("two", "three")]


def test_two_services_are_released_as_one(system: Running) -> None:
    first = system.get("/page")
    with Visitors(system.status().edge) as visitors:
        how = ("--to", "five", "--strategy", "rolling", "--every", "0", "--bake", "0")
        done = system.hanse("release", "cafe", "till", *how, "--wait")
        assert done.returncode == 0, done.stderr
    assert {one: told_of(system).releases[one] for one in ("cafe", "till")} == {"cafe": "five", "till": "five"}
    lines = [line for line in done.stderr.splitlines() if ": done" in line]
    assert [line.split(":")[1].strip() for line in lines] == ["till", "cafe"], "whoever is called goes first"
    assert {status for status, _ in visitors.seen} == {200}, visitors.seen
    assert {answer for _, answer in visitors.seen} <= {first, '"five"'}


def test_what_breaks_its_callers_is_refused_before_it_is_started(system: Running) -> None:
    before = system.get("/page")
    done = system.hanse("release", "till", "--to", "breaking", "--strategy", "blue-green", "--wait")
    assert done.returncode == 1
    assert "till breaking is refused: " in done.stderr
    beside = told_of(system).releases.get("cafe", "base")
    assert f"cafe ({beside}) counts on it: till.price: arguments: field size is needed, and is not there" in done.stderr
    assert system.get("/page") == before
    assert "breaking" not in {one.release for one in system.status().instances}
    # Whoever knows better has it begin; it is taken back before anybody is sent there.
    more = ("--strategy", "ab", "--steps", "1", "--breaking")
    done = system.hanse("release", "till", "--to", "breaking", *more)
    assert done.returncode == 0, done.stderr
    assert system.hanse("rollout", "abort", "till").returncode == 0
    assert "refused" not in system.hanse("rollout", "status", "till").stdout
    assert system.over("till").rollout.state == "rolled_back"


def test_a_supervisor_that_is_killed_amid_a_release_is_followed_by_one_that_ends_it(system: Running) -> None:
    name = "four"
    with Visitors(system.status().edge) as visitors:
        done = system.hanse("release", "till", "--to", name, "--strategy", "rolling", "--every", "1s", "--bake", "1s")
        assert done.returncode == 0, done.stderr
        before = system.status().supervisor
        os.kill(before, signal.SIGKILL)
        assert system.over("till").rollout.state == "done"
    assert system.status().supervisor != before
    assert {status for status, _ in visitors.seen} == {200}, visitors.seen
    assert system.get("/page") == f'"{name}"'
