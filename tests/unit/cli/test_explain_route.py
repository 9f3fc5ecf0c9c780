"""`hanse explain route`, against a server that answers whatever a test wants."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from click.testing import CliRunner, Result

from hanse.cli.group import hanse
from hanse.mesh.explained import Candidate, Explained

FOUND = Explained(
    "orders.place",
    "one would be asked, of 1 that are given calls and 2 that serve orders",
    "1.5",
    (
        Candidate("one", "tcp://1", "a", "1.5", 100, 3, 12.5, why="taken: is asked", taken=True),
        Candidate("two", "tcp://2", "", "", 0, calls=False, why="takes no more calls, as it drains"),
    ),
    "routes.orders (hanse.toml)",
)
PROBLEM = {"detail": "/routez is the operator's: ask from this machine"}


class Node:
    def __init__(self) -> None:
        self.url = ""
        self.came: list[tuple[str, dict[str, str]]] = []
        self.answer: tuple[int, str, object] = (200, "application/json", msgspec.to_builtins(FOUND))


@pytest.fixture
def node() -> Iterator[Node]:
    script = Node()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.came.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, kind, body = script.answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        script.url = f"http://127.0.0.1:{serving.server_address[1]}"
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield script
        serving.shutdown()
        thread.join()


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(hanse, ["explain", *arguments])


def test_it_says_who_would_be_asked_and_why_not_others(node: Node) -> None:
    told = explain("route", "orders.place", "--url", node.url, "--carrying", "tenant=acme")
    assert told.exit_code == 0, told.output
    assert [" ".join(line.split()) for line in told.output.splitlines()] == [
        f"orders.place: {FOUND.summary}",
        "release 1.5, as routes.orders (hanse.toml) says",
        "instance release zone weight in flight latency why",
        "-> one 1.5 a 100 3 12.5 ms taken: is asked",
        "x two - - 0 0 0 ms takes no more calls, as it drains",
    ]
    ((path, headers),) = node.came
    assert path == "/routez?address=orders.place&tenant=acme"
    assert "connection" not in headers  # a gateway takes who says "close" for a proxy


def test_where_there_is_nothing_to_choose_it_is_a_sentence(node: Node) -> None:
    node.answer = (200, "application/json", {"address": "a.b", "summary": "the transport chooses"})
    assert explain("route", "a.b", "--url", node.url).output == "a.b: the transport chooses\n"


def test_for_programs_it_is_json(node: Node) -> None:
    told = explain("route", "orders.place", "--url", node.url, "--json")
    assert msgspec.json.decode(told.output, type=Explained) == FOUND


def test_who_may_not_see_it_is_told_what_to_do(node: Node) -> None:
    node.answer = (403, "application/problem+json", PROBLEM)
    told = explain("route", "orders.place", "--url", node.url)
    assert told.exit_code == 1
    assert "does not say how calls find their way: /routez is the operator's: ask from this machine" in told.stderr


def test_who_is_no_node_is_told_so(node: Node) -> None:
    node.answer = (200, "application/json", [1])
    assert "expected a decision from" in explain("route", "orders.place", "--url", node.url).stderr
    assert "expected a running system" in explain("route", "a.b", "--url", "http://127.0.0.1:1").stderr
    assert "expected a URL" in explain("route", "a.b", "--url", "x").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("route",), "expected a code, or `route` and a SERVICE.OPERATION"),
        (("conflict", "orders.place"), "expected a code, or `route` and a SERVICE.OPERATION"),
        (("conflict", "--carrying", "tenant=acme"), "expected a code, or `route` and a SERVICE.OPERATION"),
        (("route", "orders"), "expected SERVICE.OPERATION, such as orders.place, got 'orders'"),
        (("route", "a.b", "--carrying", "x"), "expected --carrying NAME=VALUE, such as tenant=acme, got 'x'"),
    ],
)
def test_what_is_asked_wrongly_is_refused(arguments: tuple[str, ...], said: str) -> None:
    refused = explain(*arguments)
    assert (refused.exit_code, said in " ".join(refused.stderr.split())) == (2, True)
