"""The first example as its users meet it: a real process, killed with -9, and clients that resume without a gap."""

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pycountry
import pytest

APP = Path(__file__).parents[2] / "examples/countries/app.py"
ANSWER_SECONDS_MAX = 90
PATCHES = 5


class Server:
    """`hanse run examples/countries/app.py`, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "hanse", "run", str(APP), "--port", "0", "--store", "sqlite:///data"]
        self.process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert re.fullmatch(r"Hanse countries: http://127\.0\.0\.1:\d+\n", said), said
        self.address = urlsplit(said.split()[-1]).netloc

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> "Answer":
        with closing(http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS_MAX)) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            return Answer(connection.getresponse())

    @contextmanager
    def follow(self, path: str, after: str = "") -> "Iterator[Iterator[Event]]":
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
        with closing(http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS_MAX)) as connection:
            connection.request("GET", path, headers=headers)
            yield events(connection.getresponse())

    def rename(self, id: str, name: str) -> None:
        assert self.ask("PATCH", f"/states/{id}", {"name": name}).status == 200

    def kill(self) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.body))


class Event:
    def __init__(self, fields: dict[str, str]) -> None:
        self.name = fields["event"]
        self.cursor = fields.get("id", "")
        self.data = json.loads(fields["data"])


def events(response: http.client.HTTPResponse) -> Iterator[Event]:
    assert response.headers["Content-Type"] == "text/event-stream"
    fields: dict[str, str] = {}
    while line := response.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if line != "\n":
            fields[name] = value
        elif "event" in fields:
            yield Event(fields)
            fields = {}


Start = Callable[[], Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server, again and again on the same rows."""
    with ExitStack() as started:

        def begin() -> Server:
            server = Server(tmp_path)
            started.callback(server.kill)
            return server

        yield begin


@pytest.fixture
def server(start: Start) -> Server:
    return start()


def until(stream: Iterator[Event], name: str) -> Event:
    return next(event for event in stream if event.name == name)


def test_a_follower_resumes_without_gap_or_duplicate_after_its_server_was_killed(server: Server, start: Start) -> None:
    with server.follow("/states?country=FR") as stream:
        until(stream, "ready")
        server.rename("FR-75C", "Lutetia 0")
        seen = next(stream)
        assert (seen.name, seen.data["value"]["name"], seen.data["before"]["name"]) == ("updated", "Lutetia 0", "Paris")
    server.rename("FR-75C", "Lutetia 1")
    server.rename("BE-BRU", "elsewhere")
    server.kill()
    again = start()
    for number in range(2, PATCHES):
        again.rename("FR-75C", f"Lutetia {number}")
    with again.follow("/states?country=FR", after=seen.cursor) as stream:
        names = [next(stream).data["value"]["name"] for _ in range(1, PATCHES)]
        assert names == [f"Lutetia {number}" for number in range(1, PATCHES)]


def test_all_acknowledged_writes_survive_a_kill(server: Server, start: Start) -> None:
    for number in range(PATCHES):
        server.rename(f"FR-0{number + 1}", f"No. {number}")
    server.kill()
    again = start()
    assert [again.ask("GET", f"/states/FR-0{n + 1}").json["name"] for n in range(PATCHES)] == [
        f"No. {n}" for n in range(PATCHES)
    ]


def test_the_server_stops_at_a_signal_though_somebody_follows(server: Server) -> None:
    with server.follow("/countries?snapshot=false") as stream:
        until(stream, "ready")
        assert server.stop() == 0
        assert list(stream) == []


def test_every_country_and_every_state_is_there(server: Server) -> None:
    france = server.ask("GET", "/countries/FR")
    assert france.json["name"] == "France"
    assert france.headers["ETag"] == f'"{france.json["rev"]}"'
    assert server.ask("GET", "/countries?total=true&limit=1").json["total"] == len(pycountry.countries)
    assert server.ask("GET", "/states?total=true&limit=1").json["total"] == len(pycountry.subdivisions)


def test_states_are_listed_page_after_page(server: Server) -> None:
    first = server.ask("GET", "/states?country=US&limit=10").json
    second = server.ask("GET", f"/states?country=US&limit=10&cursor={first['next']}").json
    ids = [state["id"] for state in first["items"] + second["items"]]
    assert len(set(ids)) == 20
    assert all(id.startswith("US-") for id in ids)


def test_a_search_finds_countries_and_states_whatever_the_case(server: Server) -> None:
    by_route = server.ask("GET", "/search?text=LAND&limit=100").json
    by_call = server.ask("POST", "/rpc/countries/search", {"text": "land", "limit": 100}).json
    assert by_route == by_call
    assert {"FI", "CH"} <= {country["id"] for country in by_route["countries"]}
    assert "DE-SL" in {state["id"] for state in by_route["states"]}


def test_a_rename_on_an_old_revision_is_refused(server: Server) -> None:
    old = server.ask("GET", "/states/FR-33").headers["ETag"]
    server.rename("FR-33", "Aquitania")
    answer = server.ask("PATCH", "/states/FR-33", {"name": "Gironde"}, {"If-Match": old})
    assert answer.status == 412
    assert server.ask("GET", "/states/FR-33").json["name"] == "Aquitania"


def test_a_later_start_keeps_what_was_changed(server: Server, start: Start) -> None:
    server.rename("FR-33", "Aquitania")
    assert server.stop() == 0
    again = start()
    assert again.ask("GET", "/states/FR-33").json["name"] == "Aquitania"


def test_the_page_is_shown_at_the_root(server: Server) -> None:
    answer = server.ask("GET", "/")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"<title>Countries, live</title>" in answer.body


def test_an_unknown_country_is_a_problem_that_says_so(server: Server) -> None:
    answer = server.ask("GET", "/countries/XX")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json["detail"] == "there is no country 'XX'"
