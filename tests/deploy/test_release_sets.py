"""Services of an app and foreign ones that are released as one, each from a folder or a revision of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hanse.control.release_set import LIVE_SETS, ReleaseSet
from hanse.deploy.control_client import asked_of_releases
from hanse.deploy.control_words import Ask
from hanse.deploy.home import Home
from hanse.deploy.release_words import ReleasesTold, RolloutAsk

from .systems import PYTHON, WAIT_SECONDS, Running, looked, running
from .test_release import SERVER, Visitors

APP = """
from hanse import App, Gateway, Service, rpc


class Till(Service):
    @rpc(idempotent=True)
    async def {operation}(self) -> str:
        return "{name}"
{more}

class Cafe(Service):
    till: Till

    @rpc(idempotent=True, route="GET /page")
    async def tea(self) -> str:
        return "{name} of " + await self.till.{operation}()


app = App("cafe", Cafe, Till, gateway=Gateway().rpc(Cafe))
"""

STILL_THERE = """
    @rpc(idempotent=True)
    async def price(self) -> str:
        return "{name}"
"""
"""What the old cafe calls of a new till."""

SETTINGS = f"""
app = "cafe.py"

[edge]
port = 0

[services.web]
command = "{PYTHON} serve.py {{host}} {{port}}"
directory = "web"
route = "/web"
needs = ["cafe"]
release_hook = "echo $PWD >> ../hooks"
"""

AT_ONCE = ("--strategy", "blue-green", "--bake", "1s")
IN_STEPS = ("--steps", "50,100", "--every", "1s", "--requests", "20", "--bake", "1s")


def code(place: Path, name: str, *, calls: str = "price") -> None:
    """The code of a release of the app, whose cafe calls an operation of its till that may be new."""
    place.mkdir(exist_ok=True)
    more = STILL_THERE.format(name=name) if calls != "price" else ""
    (place / "cafe.py").write_text(APP.format(name=name, operation=calls, more=more))


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    _ = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, timeout=WAIT_SECONDS)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("sets")
    git(folder, "init")
    code(folder, "v2", calls="cost")
    git(folder, "add", "cafe.py")
    git(folder, "commit", "-m", "A till that tells what things cost")
    git(folder, "tag", "v2")
    code(folder, "base")
    for name in ("two", "three", "four", "five"):
        code(folder / name, name, calls="cost")
    code(folder / "odd", "odd", calls="rent")
    for name in ("web", "web-2", "web-bad", "web-3", "web-4", "web-5"):
        (folder / name).mkdir()
        (folder / name / "serve.py").write_text(SERVER)
        (folder / name / "name").write_text(name)
    (folder / "web-bad" / "bad").touch()
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system


def releases(system: Running) -> dict[str, str]:
    told = msgspec.json.decode(system.hanse("rollout", "status", "--json").stdout, type=ReleasesTold)
    return {name: told.releases.get(name, "base") for name in ("cafe", "till", "web")}


def begun(system: Running, *arguments: str) -> ReleaseSet:
    """A set, as it begins."""
    done = system.hanse("release", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (one,) = msgspec.json.decode(done.stdout, type=ReleasesTold).sets
    return one


def ended(system: Running, one: ReleaseSet) -> ReleaseSet:
    """A set, once it is over."""
    asked = Ask("rollout", rollout=RolloutAsk(release_set=one.id))
    return looked(
        lambda: asked_of_releases(Home(system.folder), asked).sets[0], lambda found: found.state not in LIVE_SETS
    )


def hooks(system: Running) -> list[str]:
    ran = system.folder / "hooks"
    return ran.read_text().split() if ran.exists() else []


def test_what_does_not_fit_is_refused_before_the_first_of_a_set_begins(system: Running) -> None:
    before, ran = releases(system), hooks(system)
    # No till knows what the new cafe calls, and none that does is released with it.
    found = ended(system, begun(system, "web=../web-4", "cafe=odd", *AT_ONCE))
    assert found.state == "rolled_back"
    assert "till.rent" in found.why, found.why
    assert (releases(system), hooks(system)) == (before, ran)
    # A foreign service that would come before it is not begun either.
    found = ended(system, begun(system, "till=three", "cafe=odd", *AT_ONCE))
    assert found.why.startswith("till: cafe: "), found.why
    assert releases(system) == before


def test_each_comes_from_where_it_is_and_a_new_operation_comes_with_its_caller(system: Running) -> None:
    first, old, edge = releases(system), system.get("/page"), system.status().edge
    with Visitors(edge) as visitors, Visitors(edge, path="/web/page") as others:
        one = begun(system, "web=../web-2", "cafe=two", "till", "--to", "v2", *AT_ONCE)
        assert [member.service for member in one.members] == ["till", "cafe", "web"], "whoever is called goes first"
        found = ended(system, one)
    assert found.state == "done", found.why
    assert releases(system) == {"cafe": "two", "till": "v2", "web": "web-2"}
    assert {status for status, _ in (*visitors.seen, *others.seen)} == {200}, (visitors.seen, others.seen)
    pages = {answer for _, answer in visitors.seen}
    assert pages == {old, f'"{first["cafe"]} of v2"', '"two of v2"'}, pages
    assert "web-2" in {answer for _, answer in others.seen}


def test_where_the_last_one_is_bad_all_go_back(system: Running) -> None:
    before, page, edge = releases(system), system.get("/page"), system.status().edge
    with Visitors(edge) as visitors, Visitors(edge, 8, path="/web/page"):
        found = ended(system, begun(system, "till=three", "web=../web-bad", *IN_STEPS))
    assert found.state == "rolled_back"
    assert found.why.startswith("web: "), found.why
    assert releases(system) == before
    assert system.get("/page") == page
    assert {status for status, _ in visitors.seen} == {200}, visitors.seen
    again = system.hanse("release", "web=../web-bad")
    assert "web web-bad was rolled back: " in again.stderr


def test_a_supervisor_that_is_killed_amid_a_set_is_followed_by_one_that_ends_it(system: Running) -> None:
    before, edge = system.status().supervisor, system.status().edge
    with Visitors(edge) as visitors, Visitors(edge, path="/web/page") as others:
        one = begun(system, "till=four", "web=../web-3", *AT_ONCE)
        os.kill(before, signal.SIGKILL)
        found = ended(system, one)
    assert (found.state, found.why) == ("done", "all of them are there")
    assert system.status().supervisor != before
    now = releases(system)
    assert (now["till"], now["web"]) == ("four", "web-3")
    assert {status for status, _ in (*visitors.seen, *others.seen)} == {200}, (visitors.seen, others.seen)


def test_each_of_a_set_may_have_copies_first(system: Running) -> None:
    edge = system.status().edge
    with Visitors(edge) as visitors, Visitors(edge, path="/web/page") as others:
        how = ("--mirror-first", "1s", *IN_STEPS)
        found = ended(system, begun(system, "web=../web-5", "gateway=five", *how))
    assert found.state == "done", found.why
    for service in ("web", "gateway"):
        told = system.rollout(service, lambda _: True)
        assert told.mirrored.pairs >= 20, told
        assert [step.mirrored for step in told.rollout.plan.steps] == [10_000, 0, 0]
    assert {status for status, _ in (*visitors.seen, *others.seen)} == {200}, (visitors.seen, others.seen)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["web", "till=v2"], "expected a release of web, as web=RELEASE or --to RELEASE, got none"),
        (["web="], "expected a release of web, as web=RELEASE or --to RELEASE, got none"),
        (
            ["web=1", "till=2", "--to", "3"],
            "expected a service that --to 3 is for: each was given a release of its own",
        ),
        (["web=../web-2", "til=v2"], "did you mean till"),
        (
            ["web=../web-2", "till=v2", "--mirror-first", "1s"],
            "services.till: expected a strategy that can be carried out, got mirror: no copies are made of the calls",
        ),
        (["web=../web-2", "web=../web-3"], "expected each service once, got web, web"),
        (["web=../web-2", "till=v9"], "knows no such revision"),
    ],
)
def test_sets_that_make_no_sense_are_told(system: Running, arguments: list[str], told: str) -> None:
    done = system.hanse("release", *arguments)
    assert done.returncode in (1, 2, 78)
    assert told in done.stderr
