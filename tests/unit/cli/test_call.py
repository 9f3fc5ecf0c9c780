"""Calls over HTTP, against a server that answers whatever a test wants."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, strategies as st

from hanse.cli import http
from hanse.cli.call import parse_arguments, split_operation, stream_problem, suggestion
from hanse.cli.group import hanse
from hanse.cli.net import url_of
from hanse.kernel.faults import Malformed, Misconfigured, TooLarge, Unavailable

NAMES = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
OPENAPI = {
    "x-hanse-services": [{"name": "greeter", "version": "1", "fingerprint": "ab"}],
    "paths": {"/rpc/greeter/hello": {}, "/orders": {}},
}


@dataclass
class Scripted:
    """What a path is answered with, and what came."""

    url: str = ""
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    came: list[tuple[str, str, object]] = field(default_factory=list)

    def says(self, path: str, value: object, *, status: int = 200, kind: str = "application/json") -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.answers[path] = (status, kind, body)


@pytest.fixture
def server() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            script.came.append((self.command, self.path, json.loads(body) if body else None))
            status, kind, answer = script.answers.get(self.path, (404, "text/plain", b"what?"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815  # the name is the library's

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        script.url = f"http://127.0.0.1:{serving.server_address[1]}"
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield script
        serving.shutdown()
        thread.join()


def call(server: Scripted, *arguments: str) -> Result:
    return CliRunner().invoke(hanse, ["call", *arguments, "--url", server.url])


@pytest.mark.parametrize("text", ["hello", ".hello", "greeter.", "a b.c", "greeter/hello"])
def test_what_is_no_operation_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"expected SERVICE\.OPERATION"):
        split_operation(text)


@pytest.mark.parametrize(
    "texts", [["x"], ["=1"], ["a b=1"], ["a=1", "a=2"], ["{"], ["{} x"], ["{}", "x"], ["@no/such/file"]]
)
def test_what_are_no_arguments_is_refused(texts: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse_arguments(texts)


@given(st.dictionaries(NAMES, st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text()))
def test_arguments_arrive_as_given_in_either_form(arguments: dict[str, object]) -> None:
    pairs = [f"{name}={json.dumps(value)}" for name, value in arguments.items()]
    assert parse_arguments(pairs) == arguments
    assert parse_arguments([json.dumps(arguments)]) == arguments


@given(NAMES, st.text())
def test_a_value_that_is_no_json_is_a_text(name: str, value: str) -> None:
    parsed = parse_arguments([f"{name}={value}"])[name]
    assert parsed == value or not isinstance(parsed, str) or value.strip().startswith('"')


def test_a_fault_is_told_with_its_exit_code(server: Scripted) -> None:
    problem = {"code": "malformed", "status": 400, "detail": "no", "trace_id": "abc"}
    server.says("/rpc/a/b", problem, status=400, kind="application/problem+json")
    refused = call(server, "a.b", "-v")
    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", "hanse: malformed: no\n  trace abc\n")


def test_a_fault_that_only_the_service_knows_fails_the_call(server: Scripted) -> None:
    server.says("/rpc/a/b", {"code": "out_of_tea", "title": "Gone"}, status=410, kind="application/problem+json")
    refused = call(server, "a.b")
    assert (refused.exit_code, refused.stderr) == (1, "hanse: out_of_tea: Gone\n")


def test_every_flaw_of_the_input_is_told_once(server: Scripted) -> None:
    flaws = [{"pointer": "/name", "code": "missing", "detail": "this field is required"}]
    problem = {"code": "invalid", "detail": "/name: this field is required", "errors": flaws}
    server.says("/rpc/a/b", problem, status=422, kind="application/problem+json")
    refused = call(server, "a.b")
    assert refused.exit_code == 2
    assert refused.stderr.count("this field is required") == 1


def test_an_unknown_operation_is_refused_with_what_was_probably_meant(server: Scripted) -> None:
    server.says("/rpc/greeter/helo", {"code": "no_route"}, status=404, kind="application/problem+json")
    server.says("/openapi.json", OPENAPI)
    refused = call(server, "greeter.helo")
    assert refused.exit_code == 2
    assert refused.stderr.endswith("got greeter.helo; did you mean greeter.hello?\n")


def test_where_nothing_is_near_the_list_is_named() -> None:
    assert "hanse services" in suggestion("a.b", ["greeter.hello"])


def test_an_answer_that_is_no_json_is_refused(server: Scripted) -> None:
    server.says("/rpc/a/b", b"<html>", kind="text/html")
    refused = call(server, "a.b")
    assert refused.exit_code == 2
    assert "got text/html; is it a Hanse gateway?" in refused.stderr


def test_a_system_that_does_not_run_is_told_with_what_to_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    refused = CliRunner().invoke(hanse, ["call", "a.b"], env={"HANSE_URL": url})
    assert refused.exit_code == 1
    assert "start one with `hanse run`, or name it with --url or HANSE_URL" in refused.stderr


def test_what_is_no_url_is_refused() -> None:
    refused = CliRunner().invoke(hanse, ["call", "a.b", "--url", "file:///etc/passwd"])
    assert refused.exit_code == 78
    assert "expected a URL such as http://127.0.0.1:8000" in refused.stderr


def test_an_answer_is_printed_as_json(server: Scripted) -> None:
    server.says("/rpc/greeter/hello", {"text": "Hello"})
    assert call(server, "greeter.hello", "name=Ada").stdout == '{\n  "text": "Hello"\n}\n'
    assert server.came == [("POST", "/rpc/greeter/hello", {"name": "Ada"})]


def test_the_gateway_of_the_settings_is_called_by_default(server: Scripted) -> None:
    server.says("/rpc/a/b", 1)
    port = server.url.rpartition(":")[2]
    assert CliRunner().invoke(hanse, ["call", "a.b"], env={"PORT": port}).stdout == "1\n"


def test_the_items_of_a_stream_are_printed_until_it_fails(server: Scripted) -> None:
    failed = b'{"error": {"code": "out_of_tea", "status": 409, "detail": "none left"}}\n'
    server.says("/rpc/a/b", b'1\n{"error": 2}\n' + failed, kind="application/jsonl")
    done = call(server, "a.b")
    assert (done.exit_code, done.stdout) == (1, '1\n{"error": 2}\n')
    assert "out_of_tea: none left" in done.stderr


def test_a_stream_that_ends_well_is_done(server: Scripted) -> None:
    server.says("/rpc/a/b", b"1\n2\n", kind="application/jsonl; charset=utf-8")
    assert (call(server, "a.b").exit_code, call(server, "a.b").stdout) == (0, "1\n2\n")


@given(st.text())
def test_any_line_may_be_an_item(line: str) -> None:
    assert stream_problem(line) is None


def test_endless_answers_and_lines_are_refused(server: Scripted) -> None:
    server.says("/big", b"1" * (http.ANSWER_BYTES_MAX + 1))
    with http.request(f"{server.url}/big", timeout=9) as answer, pytest.raises(TooLarge):
        answer.body()
    with http.request(f"{server.url}/big", timeout=9) as answer, pytest.raises(TooLarge):
        list(answer.lines())


def test_silence_is_given_up(server: Scripted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Unavailable, match="timed out"):
        http.request(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout=0.01)


def test_a_host_without_a_scheme_is_refused() -> None:
    with pytest.raises(Misconfigured):
        http.request("localhost:8000", timeout=1)


def test_the_services_of_a_running_system_are_listed(server: Scripted) -> None:
    server.says("/openapi.json", OPENAPI)
    shown = CliRunner().invoke(hanse, ["services", "--url", server.url]).stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["service", "version", "fingerprint", "operations"],
        ["greeter", "1", "ab", "hello"],
    ]
    printed = CliRunner().invoke(hanse, ["services", "--url", server.url, "--json"]).stdout
    assert cast("list[dict[str, object]]", json.loads(printed))[0]["operations"] == ["hello"]


def test_another_systems_document_is_refused(server: Scripted) -> None:
    server.says("/openapi.json", {"openapi": "3.1.0"})
    refused = CliRunner().invoke(hanse, ["services", "--url", server.url])
    assert refused.exit_code == Malformed.exit_code
    assert "expected the document of a Hanse gateway" in refused.stderr


def test_a_target_and_a_url_are_two_questions() -> None:
    assert CliRunner().invoke(hanse, ["services", "x.py", "--url", "http://x"]).exit_code == 2


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("[::1]", "http://[::1]:1"),
        ("10.0.0.1", "http://10.0.0.1:1"),
        ("shop.example", "http://shop.example:1"),
    ],
)
def test_a_listening_address_is_called_where_this_machine_reaches_it(host: str, url: str) -> None:
    assert url_of(host, 1) == url


@pytest.mark.parametrize(
    ("status", "detail", "told"),
    [
        (401, "Who is asking is not known", "does not say what it serves: Who is asking is not known; say who asks"),
        (503, "the node stops", "does not say what it serves: the node stops"),
    ],
)
def test_a_system_that_does_not_tell_what_it_serves_says_why(
    server: Scripted, status: int, detail: str, told: str
) -> None:
    problem = {"status": status, "code": "any", "detail": detail}
    server.says("/openapi.json", problem, status=status, kind="application/problem+json")
    said = CliRunner().invoke(hanse, ["services", "--url", server.url])
    assert (said.exit_code, told in said.stderr) == (1, True), said.stderr


def test_what_is_declared_and_served_by_nobody_is_no_typing_mistake(server: Scripted) -> None:
    problem = {"status": 404, "code": "unknown_operation", "detail": "nobody serves 'greeter'; others serve rows"}
    server.says("/rpc/greeter/hello", problem, status=404, kind="application/problem+json")
    server.says("/openapi.json", OPENAPI)
    told = CliRunner().invoke(hanse, ["call", "greeter.hello", "--url", server.url])
    assert "nobody serves 'greeter'; others serve rows" in told.stderr
    assert "did you mean" not in told.stderr
