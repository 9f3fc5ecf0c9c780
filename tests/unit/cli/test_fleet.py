"""`hanse nodes` and `hanse services --watch`, against a server that answers whatever a test wants."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from click.testing import CliRunner, Result

from hanse.cli.fleet import HEARING_LOOKS_MAX, HEARING_LOOKS_MIN, changes, service_rows, serving_in, settled, up_text
from hanse.cli.group import hanse
from hanse.cli.output import Output
from hanse.cli.services_watch import Lines, Table
from hanse.mesh.known import Known

ONE = Known("one-1", ("orders", "till"), "tcp://1", "1.4", "a", since=100.0)
TWO = Known("two-2", ("orders",), "tcp://2", state="silent")


class Node:
    def __init__(self) -> None:
        self.url = ""
        self.answer: tuple[int, str, object] = (200, "application/json", msgspec.to_builtins([ONE, TWO]))


@pytest.fixture
def node() -> Iterator[Node]:
    script = Node()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = script.answer if self.path.startswith("/nodez") else (404, "application/json", {})
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


def run(*arguments: str) -> Result:
    return CliRunner().invoke(hanse, list(arguments))


def test_nodes_are_listed_with_what_they_serve(node: Node) -> None:
    told = run("nodes", "--url", node.url)
    assert told.exit_code == 0, told.output
    head, one, two = (line.split() for line in told.output.splitlines())
    assert head == ["node", "services", "release", "zone", "up", "state", "address"]
    assert (one[:5], two) == (
        ["one-1", "orders", "till", "1.4", "a"],
        ["two-2", "orders", "-", "-", "-", "silent", "tcp://2"],
    )


def test_nodes_are_told_to_programs(node: Node) -> None:
    told = json.loads(run("nodes", "--url", node.url, "--json").output)
    assert [(one["instance"], one["services"]) for one in told] == [
        ("one-1", ["orders", "till"]),
        ("two-2", ["orders"]),
    ]


def test_commands_are_no_nodes(node: Node) -> None:
    node.answer = (200, "application/json", [{"instance": "command-1"}])
    assert json.loads(run("nodes", "--url", node.url, "--json").output) == []


def test_a_node_that_does_not_say_is_told_of_as_it_puts_it(node: Node) -> None:
    node.answer = (403, "application/problem+json", {"detail": "/nodez is the operator's: ask from this machine"})
    told = run("nodes", "--url", node.url)
    assert "does not say which nodes there are: /nodez is the operator's" in told.stderr


def test_who_answers_something_else_is_no_node(node: Node) -> None:
    node.answer = (200, "application/json", {"nodes": []})
    assert "expected a list of nodes" in run("nodes", "--url", node.url).stderr


def test_a_file_is_not_watched() -> None:
    assert "with --watch: a file does not change" in run("services", "shop.py", "--watch").stderr


def test_changes_are_lines_of_who_comes_goes_and_changes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(json_wanted=False)
    lines.show(serving_in([ONE]))
    lines.show(serving_in([msgspec.structs.replace(ONE, services=("orders",)), TWO]))
    lines.show(serving_in([ONE, msgspec.structs.replace(TWO, state="in")]))
    assert capsys.readouterr().out.splitlines() == [
        "+ orders one-1 1.4 in tcp://1",
        "+ till one-1 1.4 in tcp://1",
        "- till one-1 1.4 in tcp://1",
        "+ orders two-2 silent tcp://2",
        "~ orders two-2 in tcp://2",
        "+ till one-1 1.4 in tcp://1",
    ]


def test_changes_are_told_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(json_wanted=True).show(serving_in([TWO]))
    told = json.loads(capsys.readouterr().out)
    assert (told["change"], told["service"], told["node"]["instance"]) == ("+", "orders", "two-2")


def test_a_table_is_drawn_in_place_of_the_one_before(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table({"orders": 3}, Output())
    table.show(serving_in([ONE]))
    table.show(serving_in([]))
    first, _, second = capsys.readouterr().out.partition("\033[3F\033[J")
    assert [line.split()[:3] for line in first.splitlines()] == [
        ["service", "operations", "node"],
        ["orders", "3", "one-1"],
        ["till", "-", "one-1"],
    ]
    assert len(second.splitlines()) == 1


def test_a_service_stands_in_its_first_row_only() -> None:
    rows = service_rows(serving_in([ONE, TWO]).values(), {"orders": 3}, now=160.0)
    assert [row[:3] for row in rows] == [["orders", "3", "one-1"], ["", "", "two-2"], ["till", "-", "one-1"]]
    assert (rows[0][5], rows[1][5]) == ("1m", "-")


def test_nothing_has_changed_where_all_is_the_same() -> None:
    assert list(changes(serving_in([ONE]), serving_in([ONE]))) == []


def test_who_has_just_come_looks_until_nobody_new_is_heard_of() -> None:
    looks = iter([[], [ONE], [ONE], [ONE, TWO], *([[ONE, TWO]] * 9)])
    taken: list[None] = []
    assert settled(lambda: next(looks), lambda: taken.append(None)) == [ONE, TWO]
    assert len(taken) == 3 + HEARING_LOOKS_MIN - 1
    restless = iter(range(100))
    found = settled(lambda: [Known(str(next(restless)))], lambda: None)
    assert found == [Known(str(HEARING_LOOKS_MAX - 1))]


def test_a_clock_that_runs_behind_tells_no_negative_time() -> None:
    assert up_text(-5.0) == "0s"
