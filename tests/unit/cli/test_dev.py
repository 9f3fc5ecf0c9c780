"""What `hanse dev` shows: excerpts, pages, and lines of the log."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hanse.cli.dev_asgi import Developing, Failures, ShortLines
from hanse.cli.dev_page import POLICY, host_in, page, wants_page
from hanse.cli.dev_settings import for_development
from hanse.cli.excerpt import PLACES_MAX, Excerpt, Spot, as_text, excerpt_of, shown_path
from hanse.cli.stand_in import HELD_MAX, StandIn
from hanse.gateway.asgi import Event, Receive, Scope, Send
from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.settings import LogSettings, NodeSettings, Settings

WRONG = Excerpt("KeyError: '<b>'", (Spot("<shop>.py", 2, "f", ((1, "<i>"), (2, "x['<b>']"))),))
BROWSER = {"accept": "text/html", "host": "localhost:8000"}


def deep(levels: int) -> int:
    return 1 // levels if levels == 0 else deep(levels - 1)


def raised() -> BaseException:
    try:
        deep(PLACES_MAX + 3)
    except ZeroDivisionError as error:
        return error
    raise AssertionError


def test_what_somebody_has_set_stays_so_while_one_develops() -> None:
    settings = Settings(node=NodeSettings(store="memory:", grace=9.0), log=LogSettings(format="json"))
    sources = {
        "node.store": "hanse.toml",
        "node.grace": ".env",
        "log.format": "--log-format",
        "log.access": "--access-log",
    }
    assert for_development(settings, sources) == settings


def test_an_excerpt_has_the_last_places_only() -> None:
    found = excerpt_of(raised())
    assert found.text == "ZeroDivisionError: integer division or modulo by zero"
    assert [spot.function for spot in found.spots] == ["deep"] * PLACES_MAX
    assert (found.spots[-1].line, found.spots[-1].file) == (deep.__code__.co_firstlineno + 1, shown_path(__file__))


def test_a_fault_that_tells_of_an_error_shows_that_error() -> None:
    fault = CouldNotStart("it does not start")
    fault.__cause__ = raised()
    assert excerpt_of(fault).text.startswith("ZeroDivisionError")
    fault.__cause__ = ValueError("from nowhere")
    assert excerpt_of(fault) == Excerpt("it does not start")
    assert excerpt_of(Misconfigured("port 0")) == Excerpt("port 0")


def test_the_lines_that_matter_are_marked_in_colour_where_it_is_wanted() -> None:
    assert "\033[" not in as_text(WRONG)
    assert "\033[1m    2 > x['<b>']\033[0m" in as_text(WRONG, colour=True)


def test_nothing_of_an_error_is_markup_on_its_page() -> None:
    text = page(WRONG, "<u>", 7, '"POST">').decode()
    assert not [tag for tag in ("<b>'", "<i></", "<u>", '"POST"') if tag in text]
    assert 'data-generation="7"' in text
    assert "unsafe" not in POLICY


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.rebound.example:80", "10.0.0.1", "", "localhost.x"])
def test_who_came_by_another_name_gets_no_page(host: str) -> None:
    assert not wants_page({**BROWSER, "host": host})


def test_the_port_of_a_host_is_left_out() -> None:
    assert [host_in(text) for text in ("::1", "[::1]:80", "a:80", "a", "a:b")] == ["::1", "[::1]", "a", "a", "a:b"]


def failing(fault: str) -> Developing:
    failures = Failures()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        record = logging.makeLogRecord({"args": ("shop.buy", "ref-1"), "exc_info": (None, raised(), None)})
        failures.handle(record)
        headers = [(b"content-type", b"application/problem+json")]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": b"see ", "more_body": True})
        await send({"type": "http.response.body", "body": fault.encode()})

    return Developing(app, 3, failures, colour=False)


async def answers(app: Developing, path: str = "/x", **headers: str) -> list[Event]:
    sent: list[Event] = []

    async def send(event: Event) -> None:
        sent.append(event)

    async def receive() -> Event:
        raise AssertionError

    pairs = [(name.encode(), text.encode()) for name, text in headers.items()]
    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": pairs, "raw_path": b"/x%0A"}
    await app(scope, receive, send)
    return sent


async def test_a_problem_whose_cause_is_known_becomes_a_page(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    start, body = await answers(failing("ref-1"), **BROWSER)
    assert (start["status"], b"ZeroDivisionError" in bytes(str(body["body"]), "utf-8")) == (500, True)
    assert [record.getMessage()[:13] for record in caplog.records] == ["500 GET /x%0A"]


@pytest.mark.parametrize(("fault", "headers"), [("ref-2", BROWSER), ("ref-1", {"accept": "*/*"})])
async def test_any_other_problem_stays_what_it_is(fault: str, headers: dict[str, str]) -> None:
    sent = await answers(failing(fault), **headers)
    assert b"".join(event["body"] for event in sent[1:] if isinstance(event["body"], bytes)) == f"see {fault}".encode()


async def test_a_page_can_ask_which_start_it_is() -> None:
    _, body = await answers(failing(""), "/.hanse/dev")
    assert body["body"] == b'{"generation":3,"runs":true}'


async def test_a_websocket_passes() -> None:
    passed: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    async def nothing(*_: object) -> Event:
        raise AssertionError

    await Developing(app, 1, Failures(), colour=True)({"type": "websocket"}, nothing, app)  # type: ignore[arg-type]
    assert passed == [{"type": "websocket"}]


def test_a_record_without_code_of_ones_own_keeps_its_traceback() -> None:
    lines = ShortLines(colour=False)
    shown = lines.format(logging.makeLogRecord({"msg": "m", "exc_info": (ValueError, ValueError("v"), None)}))
    assert shown.endswith("ValueError: v")
    record = logging.makeLogRecord({"msg": "m", "exc_info": (ZeroDivisionError, raised(), None)})
    assert "Traceback" not in lines.format(record)
    assert "in deep" in lines.format(record)


def test_who_stands_in_answers_everybody_and_goes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stand_in = StandIn(listener, WRONG, 4)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        asked = urllib.request.Request(f"{url}/x", b"12", {"Accept": "text/html"}, method="PUT")
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(asked, timeout=30)
        with told.value as refused:
            assert (refused.code, b'data-method="PUT"' in refused.read()) == (503, True)
        with pytest.raises(urllib.error.HTTPError) as told, urllib.request.urlopen(f"{url}/x", timeout=30):
            pass
        with told.value as refused:
            assert json.load(refused)["detail"] == as_text(WRONG)
        with urllib.request.urlopen(f"{url}/.hanse/dev", timeout=30) as standing:
            assert json.load(standing) == {"generation": 4, "runs": False}
        stand_in.leave()
        assert listener.fileno() != -1


def test_who_stands_in_holds_event_streams_open_until_it_goes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stand_in = StandIn(listener, WRONG, 4)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/orders"
        asked = urllib.request.Request(url, headers={"Accept": "text/event-stream", "Origin": "http://localhost:5173"})
        with urllib.request.urlopen(asked, timeout=30) as stream:
            assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
            assert stream.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
            assert stream.readline() == b"retry: 300\n"
            stand_in.leave()
            assert stream.read().strip() == b""


def test_who_stands_in_holds_so_many_event_streams_and_lets_others_come_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as held:
        stand_in = StandIn(listener, WRONG, 4)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/orders"
        asked = urllib.request.Request(url, headers={"Accept": "text/event-stream"})
        for _ in range(HELD_MAX):
            stream = held.enter_context(urllib.request.urlopen(asked, timeout=30))
            assert stream.readline() == b"retry: 300\n"
        with urllib.request.urlopen(asked, timeout=30) as other:
            assert other.read() == b"retry: 300\n\n"
        stand_in.leave()


def test_a_path_below_the_current_folder_is_shown_from_there() -> None:
    assert shown_path(str(Path.cwd() / "a/b.py")) == "a/b.py"
    assert shown_path("/elsewhere/b.py") == "/elsewhere/b.py"
