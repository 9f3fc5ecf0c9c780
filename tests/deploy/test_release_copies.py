"""A release whose answers lack something is known by copies, before anybody is shown it; with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hanse.control.rollout import Rollout

from .systems import PYTHON, Running, running
from .test_release import Visitors

SERVER = """
import json, os, random, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RELEASE = os.path.basename(os.getcwd())

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        told = {"id": random.random(), "price": 3, "lines": [{"of": "tea"}]}
        if random.random() < 0.5:
            told["note"] = "soon"
        if RELEASE == "lacks":
            del told["price"]
        if RELEASE != "one":
            told["tax"] = 1
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Release", RELEASE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""An id that is another one each time, and a note that is there now and then, whichever release answers."""

SETTINGS = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} serve.py {{host}} {{port}}"
directory = "one"
route = "/"
"""

BREAKS = "body.price of / is missing or of another kind in "


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("copies")
    for name in ("one", "more", "lacks"):
        (folder / name).mkdir()
        (folder / name / "serve.py").write_text(SERVER)
        (folder / name / "name").write_text(name)
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system


def released(system: Running, to: str, *arguments: str) -> tuple[Rollout, bool]:
    """The rollout at its end, under visitors; and whether any of them was answered without a price."""
    with Visitors(system.status().edge) as visitors:
        done = system.hanse("release", "web", "--to", f"../{to}", *arguments)
        assert done.returncode == 0, done.stderr
        one = system.over()
    assert {status for status, _ in visitors.seen} == {200}
    return one.rollout, any("price" not in body for _, body in visitors.seen)


@pytest.mark.parametrize("strategy", [("--strategy", "mirror"), ("--mirror-first", "2s", "--steps", "50,100")])
def test_one_that_lacks_a_field_goes_back_before_anybody_is_shown_it(
    system: Running, strategy: tuple[str, ...]
) -> None:
    row, harmed = released(system, "lacks", *strategy, "--requests", "10000")
    assert (row.state, row.blamed) == ("rolled_back", True), row.why
    assert row.why.startswith(BREAKS), row.why
    assert {turn.share for turn in row.history} == {0}
    assert not harmed
    assert system.hanse("rollout", "lift", "web", "lacks").returncode == 0


def test_one_that_only_says_more_comes_to_its_place_by_itself(system: Running) -> None:
    plan = ("--mirror-first", "8s", "--steps", "50,100", "--every", "2s", "--requests", "100", "--bake", "0")
    row, _ = released(system, "more", *plan)
    assert row.state == "done", row.why
    assert max(turn.share for turn in row.history if turn.step == 0) == 0
    assert row.share == 10_000
