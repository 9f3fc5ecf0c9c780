"""Event streams as commands read and resume them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given, strategies as st

from hanse.cli.events_text import Told, differences, line_of, shown, told_by
from hanse.cli.remote import Remote
from hanse.cli.sse import RETRY_SECONDS_MAX, Event, Follower, Moved, ProblemCame, Retry, events_in, pause
from hanse.kernel.faults import Malformed

TEXT = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8)


def test_an_event_that_is_too_large_is_refused() -> None:
    line = "data:" + "x" * (1024 * 1024)
    with pytest.raises(Malformed):
        list(events_in([line] * 17))


@pytest.mark.parametrize("data", ["{", "[]", '{"rev": "x"}'])
def test_what_is_no_event_of_ours_is_refused(data: str) -> None:
    with pytest.raises(Malformed):
        told_by("orders", Event("created", data, ""))


@given(st.lists(TEXT))
def test_any_lines_are_read(lines: list[str]) -> None:
    list(events_in(lines))


@given(st.lists(st.tuples(st.sampled_from(["created", "emitted"]), st.lists(TEXT, min_size=1), st.integers(1))))
def test_events_are_read_as_they_were_written(told: list[tuple[str, list[str], int]]) -> None:
    lines: list[str] = []
    for name, data, cursor in told:
        lines += [f"event: {name}", f"id: a.{cursor}", *(f"data: {line}" for line in data), ": beat", ""]
    assert list(events_in(lines)) == [Event(name, "\n".join(data), f"a.{cursor}") for name, data, cursor in told]


def test_a_sign_of_life_moves_the_cursor_and_is_no_event() -> None:
    found = list(events_in([":", "id: a.1", "", ":", "", ":", "id: a.2", "", "data: 1", ""], "a.1"))
    assert found == [Moved("a.2"), Event("message", "1", "a.2")]


def test_a_cursor_stands_until_another_comes_and_a_reset_takes_it_back() -> None:
    found = list(events_in(["retry: 500", "data: 1", "", "event: reset", "id", "data: {}", ""], "a.1"))
    assert found == [Retry(0.5), Event("message", "1", "a.1"), Event("reset", "{}", "")]


@given(st.integers(0, 10_000), st.floats(0.001, 1e6))
def test_pauses_grow_to_a_limit(failures: int, seconds: float) -> None:
    assert 0 < pause(failures, seconds) <= pause(failures + 1, seconds) <= RETRY_SECONDS_MAX


def test_a_line_shows_nothing_that_could_move_the_cursor_of_a_terminal() -> None:
    line = line_of(Told("orders", "created", key="1", value={"sku": "a\x1b[2Jb\nc", "long": "x" * 100}), 0.0)
    assert line.isprintable()
    assert line.endswith("...")
    assert shown({"a": 1}) == '{"a":1}'
    assert differences({"a": 1, "rev": 1}, {"a": 1, "rev": 2}) == []


def test_a_reset_says_what_it_means() -> None:
    assert "not told" in line_of(Told("orders", "reset"), 0.0)


STREAM = "text/event-stream"
PROBLEM = "application/problem+json"
AWAY = '{"status": 503, "code": "unavailable"}'


class Other:
    """A server of somebody else's: gives its answers one after the other, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, str]] = []
        self.cursors: list[str | None] = []
        other = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                other.cursors.append(self.headers["Last-Event-ID"])
                status, kind, body = other.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """It is quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.noted: list[str] = []
        self.waited: list[float] = []

    def follower(self, waits: int = 0) -> Follower:
        """One that waits for so many times, and then has enough."""

        def wait(seconds: float) -> bool:
            self.waited.append(seconds)
            return len(self.waited) <= waits

        remote = Remote(f"http://127.0.0.1:{self.server.server_port}")
        return Follower(remote, "/orders", [], wait=wait, note=self.noted.append)


@pytest.fixture
def other() -> Iterator[Other]:
    other = Other()
    serving = threading.Thread(target=other.server.serve_forever, args=(0.01,))
    serving.start()
    yield other
    other.server.shutdown()
    serving.join()
    other.server.server_close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/html", "<html>"), (PROBLEM, "<html>"), (STREAM, "event: fault\ndata: it broke\n\n")],
)
def test_what_no_gateway_would_answer_is_told_as_that(other: Other, kind: str, body: str) -> None:
    other.answers = [(200, kind, body)]
    with pytest.raises(Malformed, match="expected"):
        list(other.follower().follow())


@pytest.mark.parametrize("body", ['{"title": "no", "status": 403, "errors": {"sku": ["is missing"]}}', "[]"])
def test_a_problem_of_another_framework_is_told_as_far_as_it_can_be_read(other: Other, body: str) -> None:
    other.answers = [(403, PROBLEM, body)]
    with pytest.raises(ProblemCame) as came:
        list(other.follower().follow())
    assert came.value.problem.errors == []


def test_a_fault_amid_a_stream_that_may_pass_is_waited_for(other: Other) -> None:
    first = 'retry: 500\n\nevent: created\nid: a.1\ndata: {}\n\nevent: fault\ndata: {"status": 503}\n\n'
    other.answers = [(200, STREAM, first), (503, PROBLEM, AWAY), (200, STREAM, "event: created\nid: a.2\ndata: {}\n\n")]
    found = [event.cursor for event in other.follower(waits=2).follow()]

    assert found == ["a.1", "a.2"]
    assert other.cursors == [None, "a.1", "a.1"]
    assert other.waited == [0.5, 1.0, 0.5]
    assert other.noted == ["fault: ; trying again", "connected again", "the stream has ended; trying again"]


def test_a_stream_that_broke_is_resumed_where_its_last_sign_of_life_was(other: Other) -> None:
    other.answers = [(200, STREAM, "event: ready\nid: a.1\ndata: {}\n\n:\nid: a.9\n\n"), (200, STREAM, "")]
    assert [event.cursor for event in other.follower(waits=1).follow()] == ["a.1"]
    assert other.cursors == [None, "a.9"]


def test_a_fault_amid_a_stream_that_stays_ends_it(other: Other) -> None:
    other.answers = [(200, STREAM, 'id: a.1\ndata: {}\n\nevent: fault\ndata: {"status": 403}\n\n')]
    with pytest.raises(ProblemCame):
        list(other.follower(waits=9).follow())
    assert other.waited == []
