"""People for whom everything fails, whatever release they ask, count once each against it, however often they try.

So they bring no release back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hanse.control.edge_choice import bucket
from hanse.control.rollout import Rollout
from hanse.control.verdict import Shown
from hanse.deploy.edge.envoy import program as envoy
from hanse.deploy.edge.haproxy import program as haproxy
from hanse.deploy.release_words import RolloutTold
from hanse.kernel.faults import CouldNotStart

from .systems import PYTHON, Running, running
from .test_release import Visitors

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        broken = self.headers.get("X-User-Id", "").startswith("broken")
        self.send_response(500 if broken else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""Some have an account that is broken, as their names say."""

SETTINGS = f"""
[edge]
port = 0
engine = "ENGINE"

[services.web]
command = "{PYTHON} serve.py {{host}} {{port}}"
directory = "one"
route = "/"
"""

PROGRAMS: dict[str, Callable[[], str]] = {"builtin": str, "envoy": envoy.found, "haproxy": haproxy.found}
"""Engines, and what finds those that are no part of us."""

SHARE = 5_000
"""Basis points that the new release has, and so how many buckets of people."""

ASKED_MIN = 300

PAUSE_SECONDS = 0.05
"""Between two requests of somebody."""


def begun(system: Running) -> Rollout:
    """The rollout, once it has a share."""
    return system.rollout("web", lambda one: one.rollout.share > 0).rollout


def judged(system: Running, seen: list[int]) -> Shown:
    """What the judge knows of failures, once there were more than enough of them, had each counted."""

    def enough(one: RolloutTold) -> bool:
        return one.verdict is not None and len(seen) > 100 and one.verdict.metrics[0].new_events > 0

    verdict = system.rollout("web", enough).verdict
    assert verdict is not None
    return verdict.metrics[0]


def well_asked(one: RolloutTold) -> bool:
    """Whether both releases were asked often enough for a few failures to say little."""
    return one.verdict is not None and min(one.verdict.metrics[0].new, one.verdict.metrics[0].old) >= ASKED_MIN


@contextmanager
def asking(url: str, names: list[str]) -> Iterator[list[int]]:
    """People who ask again and again; what those were answered whose accounts are broken."""
    ended, seen = threading.Event(), list[int]()

    def ask(name: str) -> None:
        link = HTTPConnection(urlsplit(url).netloc, timeout=30.0)
        while not ended.wait(PAUSE_SECONDS):
            link.request("GET", "/page", headers={"X-User-Id": name})
            answer = link.getresponse()
            _ = answer.read()
            if name.startswith("broken"):
                seen.append(answer.status)
        link.close()

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("engine", sorted(PROGRAMS))
def test_people_for_whom_everything_fails_count_once_and_bring_nothing_back(tmp_path: Path, engine: str) -> None:
    try:
        _ = PROGRAMS[engine]()
    except CouldNotStart as missing:
        pytest.skip(missing.detail)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "serve.py").write_text(SERVER)
        (tmp_path / name / "name").write_text(name)
    with running(tmp_path, SETTINGS.replace("ENGINE", engine)) as system:
        edge = system.ready().edge
        with Visitors(edge, number=8):
            plan = ("--steps", "50,100", "--every", "20s", "--bake", "2s")
            done = system.hanse("release", "web", "--to", "../two", *plan)
            assert done.returncode == 0, done.stderr
            salt = begun(system).id
            # All whose accounts are broken are at the new release; as many others keep the old one as busy.
            names = [name for name in map("broken-{}".format, range(100)) if bucket(salt, name) < SHARE][:3]
            others = [name for name in map("well-{}".format, range(100)) if bucket(salt, name) >= SHARE][:3]
            # Three who fail where a handful was asked look like a bad release for long.
            _ = system.rollout("web", well_asked)
            with asking(edge, names + others) as seen:
                failed = judged(system, seen)
                rollout = system.over().rollout
        # A busy machine may hold one of two processes up for a while: these people bring nothing like that about.
        assert rollout.state == "done" or rollout.why.startswith("slow"), rollout.why
        assert set(seen) == {500}
        assert 1 <= failed.new_events <= len(names), f"of {len(seen)} requests that failed"
