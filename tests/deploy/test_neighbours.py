"""Programs that know nothing of Hanse ask each other by name, with real processes: by URL, and by a proxy."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from hanse.deploy.control_words import Row

from .systems import PYTHON, Running, doors, running

SERVER = """
import json, os, sys, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = parse_qs(urlsplit(self.path).query).get("url", [""])[0]
        name = urlsplit(self.path).path.rpartition("/")[2]
        said = os.environ["HANSE_INSTANCE"]
        heard = {key.lower(): value for key, value in self.headers.items()}
        told = {"instance": said, "path": self.path, "headers": heard}
        if name in os.environ:
            told["variable"] = os.environ[name]
        if url:
            url = url.replace("URL", os.environ.get("HANSE_URL_USERS", ""))
            handed = {key: value for key, value in self.headers.items() if key.lower() in ("traceparent", "baggage")}
            try:
                with urllib.request.urlopen(urllib.request.Request(url, headers=handed), timeout=30) as answer:
                    told["answer"] = json.loads(answer.read())
            except urllib.error.HTTPError as error:
                told["problem"] = json.loads(error.read())
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""Asks another server for whatever it is asked to, as any program does, and tells what both have heard."""

NOT_FOUND = 404
COMMAND = f"{PYTHON} serve.py {{host}} {{port}}"
SETTINGS = f"""
[edge]
port = 0

[services.shop]
command = "{COMMAND}"
route = "/shop"
egress = true

[services.plain]
command = "{COMMAND}"
route = "/plain"

[services.users]
command = "{COMMAND}"
instances = 2
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("neighbours")
    (folder / "serve.py").write_text(SERVER)
    with running(folder, SETTINGS) as system:
        _ = system.ready()
        yield system
        assert system.end() == 0


def asked(system: Running, path: str) -> Any:  # noqa: ANN401 - JSON of the server above
    return json.loads(system.get(path))


def rows(system: Running, service: str) -> list[Row]:
    return [one for one in system.status().instances if one.service == service]


def ready(system: Running, service: str) -> set[str]:
    """Names of its instances, once all that should be ready is."""
    return {one.instance for one in system.ready().instances if one.service == service}


def test_a_neighbour_without_a_route_is_found_at_whichever_instance_is_ready(system: Running) -> None:
    answers = [asked(system, "/plain?url=URL/7")["answer"] for _ in range(6)]
    assert {one["instance"] for one in answers} == ready(system, "users")
    assert {one["path"] for one in answers} == {"/7"}


def test_whoever_asks_by_a_proxy_names_neighbours_as_hosts(system: Running) -> None:
    answers = [asked(system, "/shop?url=http://users/7")["answer"] for _ in range(6)]
    assert {one["instance"] for one in answers} == ready(system, "users")
    outer = asked(system, "/shop?url=http://users/")
    stories = [one["headers"]["traceparent"].split("-")[1] for one in (outer, outer["answer"])]
    assert stories[0] == stories[1]


def test_only_whoever_wishes_for_it_is_told_of_a_proxy_and_the_machine_is_asked_straight(system: Running) -> None:
    assert str(asked(system, "/shop/http_proxy")["variable"]).startswith("http://127.0.0.1:")
    assert "127.0.0.1" in str(asked(system, "/shop/NO_PROXY")["variable"]).split(",")
    assert asked(system, "/plain/HTTP_PROXY").get("variable") == os.environ.get("HTTP_PROXY")


def test_a_host_that_is_no_service_is_refused_with_the_names_of_those_that_are(system: Running) -> None:
    problem = asked(system, "/shop?url=http://elsewhere.invalid/")["problem"]
    assert (problem["code"], problem["status"]) == ("not_a_neighbour", 403)
    assert "there are plain, shop, users" in problem["detail"]


def test_neighbours_come_and_go_and_whoever_asks_is_not_restarted(system: Running) -> None:
    before = {one.instance: one.pid for one in rows(system, "plain")}
    gone = ready(system, "users")
    seen = len(system.lines)
    _ = system.hanse("stop", "users")
    for name in gone:
        _ = system.until(f"{name} has ended", after=seen)
    assert asked(system, "/plain?url=URL/")["problem"]["code"] == "unavailable"
    _ = system.hanse("scale", "users=3")
    there = ready(system, "users")
    answers = [asked(system, "/plain?url=URL/")["answer"]["instance"] for _ in range(6)]
    assert (set(answers), len(there)) == (there, 3)
    assert {one.instance: one.pid for one in rows(system, "plain")} == before


def test_an_egress_that_is_killed_comes_back_at_the_same_place(system: Running) -> None:
    url = asked(system, "/shop/HTTP_PROXY")["variable"]
    (egress,) = doors(system, "egress")
    seen = len(system.lines)
    os.kill(egress, signal.SIGKILL)
    _ = system.until("the egress has ended; it is started anew", after=seen)
    # Nobody tells when it is back; a table that is in force says so.
    assert system.hanse("restart", "users", "-q").returncode == 0
    _ = system.ready()
    assert asked(system, "/plain?url=URL/7")["answer"]["path"] == "/7"
    assert asked(system, "/shop/HTTP_PROXY")["variable"] == url


def test_a_route_that_is_changed_takes_effect_and_nobody_is_restarted(system: Running) -> None:
    before = {one.instance: one.pid for one in system.ready().instances}
    file = system.folder / "hanse.toml"
    seen = len(system.lines)
    file.write_text(file.read_text().replace('route = "/plain"', 'route = "/moved"'))
    _ = system.until("the settings were read anew", after=seen)
    _ = system.hanse("wait", "-q")
    assert asked(system, "/moved/x")["instance"].startswith("plain-")
    with pytest.raises(HTTPError) as gone:
        _ = system.get("/plain/x")
    with gone.value:
        assert gone.value.code == NOT_FOUND
    file.write_text(file.read_text().replace('route = "/moved"', 'route = "/plain"'))
    seen = len(system.lines)
    _ = system.until("the settings were read anew", after=seen)
    _ = system.hanse("wait", "-q")
    assert asked(system, "/plain/x")["instance"].startswith("plain-")
    assert {one.instance: one.pid for one in system.ready().instances} == before
