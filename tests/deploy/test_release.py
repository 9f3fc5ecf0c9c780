"""Releases of foreign services that know nothing of it, with real processes and requests that go on all the time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Self
from urllib.parse import urlsplit

import msgspec
import pytest

from hanse.deploy.release_words import ReleasesTold

from .systems import PYTHON, Running, running

SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

asked = [0]

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked[0] += 1
        bad = os.path.exists("bad") and self.path != "/" and asked[0] % 2
        body = os.path.basename(os.getcwd()).encode()
        self.send_response(500 if bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""Tells in which folder it was started; where there is a file `bad`, half of what it answers is an error."""

SETTINGS = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} serve.py {{host}} {{port}}"
directory = "one"
route = "/"
instances = 2
release_hook = "echo ran >> ../hooks"
"""


class Visitors:
    """Several who ask one after the other, all the time, and note what they got."""

    def __init__(self, url: str, number: int = 4, *, path: str = "/page") -> None:
        self._address = urlsplit(url).netloc
        self._path = path
        self._over = threading.Event()
        self.seen: Counter[tuple[int, str]] = Counter()
        self._threads = [threading.Thread(target=self._ask) for _ in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        link = HTTPConnection(self._address, timeout=30.0)
        while not self._over.wait(0.01):
            link.request("GET", self._path)
            answer = link.getresponse()
            self.seen[answer.status, answer.read().decode()] += 1
        link.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("releases")
    for name in ("one", "two", "three", "worse", "worse2"):
        (folder / name).mkdir()
        (folder / name / "serve.py").write_text(SERVER)
        (folder / name / "name").write_text(name)
    (folder / "worse" / "bad").touch()
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system


def released(system: Running, *arguments: str) -> tuple[int, ReleasesTold | None, str]:
    done = system.hanse("release", "web", *arguments, "--wait")
    told = system.hanse("rollout", "status", "--json")
    return done.returncode, msgspec.json.decode(told.stdout, type=ReleasesTold), done.stderr


def test_releases_come_and_go_and_no_request_is_lost(system: Running) -> None:
    hooks = system.folder / "hooks"
    before = len(hooks.read_text().split()) if hooks.exists() else 0
    with Visitors(system.status().edge) as visitors:
        code, told, text = released(system, "--to", "../two", "--strategy", "rolling", "--every", "0", "--bake", "0")
        assert code == 0, text
        assert told is not None
        assert told.releases == {"web": "two"}
        code, told, text = released(system, "--to", "../three", "--strategy", "blue-green", "--bake", "1s")
        assert code == 0, text
        assert told is not None
        assert told.releases == {"web": "three"}
    assert {status for status, _ in visitors.seen} == {200}, visitors.seen
    assert {name for _, name in visitors.seen} == {"one", "two", "three"}
    assert len(hooks.read_text().split()) == before + 2, "once for each rollout"


def test_a_bad_release_goes_back_by_itself_and_is_not_tried_again(system: Running) -> None:
    with Visitors(system.status().edge, number=12) as visitors:
        code, told, text = released(system, "--to", "../worse", "--steps", "20,100", "--every", "30s")
    assert code == 1, text
    assert told is not None
    (one,) = told.rollouts
    assert (one.rollout.state, one.rollout.blamed) == ("rolled_back", True)
    assert "worse is rolled back" in text
    assert one.verdict is not None
    assert one.verdict.decision == "roll_back"
    good = sum(count for (status, name), count in visitors.seen.items() if name != "worse" and status == 200)
    assert good > sum(count for (_, name), count in visitors.seen.items() if name == "worse")
    argo = system.hanse("rollout", "verdict", "web", "--as", "argo")
    assert msgspec.json.decode(argo.stdout)["verdict"] == "roll_back"
    for hook, code in {"rollout": 1, "increase": 1, "promotion": 1, "rollback": 0}.items():
        assert system.hanse("rollout", "verdict", "web", "--as", f"flagger-{hook}").returncode == code
    again = system.hanse("release", "web", "--to", "../worse")
    assert again.returncode == 1
    assert "was rolled back" in again.stderr


def test_a_rollout_can_be_paused_and_aborted(system: Running) -> None:
    before = system.get("/name")
    done = system.hanse("release", "web", "--to", "../one", "--strategy", "ab", "--steps", "50")
    assert done.returncode == 0, done.stderr
    assert system.hanse("rollout", "pause", "web").returncode == 0
    assert "held" in system.hanse("rollout", "status").stdout
    assert system.hanse("rollout", "resume", "web").returncode == 0
    # Only once its instances are there has it a share.
    _ = system.rollout("web", lambda one: one.rollout.share > 0)
    done = system.hanse("route", "set", "web", "20")
    assert done.returncode == 0, done.stderr
    assert "20 %" in system.hanse("route", "show").stdout
    assert system.hanse("rollout", "abort", "web").returncode == 0
    busy = system.hanse("rollout", "promote", "web")
    assert busy.returncode == 1
    assert "there is nothing to promote" in busy.stderr or "on its way" in busy.stderr
    assert system.over().rollout.state == "rolled_back"
    assert system.get("/name") == before


def test_copies_are_compared_and_nobody_gets_their_answers(system: Running) -> None:
    before = system.get("/name")
    done = system.hanse("release", "web", "--to", "../worse2", "--strategy", "mirror", "--every", "1s")
    assert done.returncode == 0, done.stderr
    with Visitors(system.status().edge) as visitors:
        one = system.rollout("web", lambda one: bool(one.mirrored.differences))
    assert {name for _, name in visitors.seen} == {before}
    assert "body" in {difference.field for difference in one.mirrored.differences}
    assert "copies: " in system.hanse("rollout", "status", "web").stdout
    assert system.hanse("rollout", "abort", "web").returncode == 0
    assert system.over().rollout.state == "rolled_back"
    assert system.get("/name") == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["release", "web", "--to", "nowhere"], "there is no folder"),
        (["release", "webb", "--to", "../two"], "did you mean web"),
        (["release", "web", "--to", "../two", "--steps", "x"], "expected percents such as 1,5,25,50,100"),
        (["release", "web", "--to", "../two", "--steps", "50,5"], "expected percents that grow"),
        (["rollout", "lift", "web", "9"], "there is no veto"),
    ],
)
def test_what_makes_no_sense_is_told(system: Running, arguments: list[str], told: str) -> None:
    done = system.hanse(*arguments)
    assert done.returncode in (1, 2)
    assert told in done.stderr
