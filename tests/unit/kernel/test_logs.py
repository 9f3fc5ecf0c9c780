from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.context import Context, ambient
from hanse.kernel.host import Host
from hanse.kernel.logs import MESSAGE_CHARACTERS_MAX, JsonLines, Labels, TextLines, set_up
from hanse.kernel.message import Headers
from hanse.kernel.settings import LogSettings

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LABELS = Labels("shop", "1.4", "shop-1")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Root:
    """The root logger, given back as it was."""

    logger: logging.Logger = field(default_factory=logging.getLogger)


@pytest.fixture
def root() -> Iterator[Root]:
    found = Root()
    handlers, level = found.logger.handlers[:], found.logger.level
    yield found
    found.logger.handlers[:] = handlers
    found.logger.setLevel(level)


@pytest.fixture
def handler_of_orders() -> Iterator[None]:
    headers = Headers(traceparent=TRACE, tags={"booking_ref": "ABC", "level": "mine"})
    token = ambient.set(Context(Host.fixed(wall=0.0, seed=1), headers, operation="orders.place"))
    yield
    ambient.reset(token)


def record(message: object, *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("orders", logging.WARNING, "", 0, message, args, None)
    made.created = 1_700_000_000.5
    vars(made).update(more)
    return made


def line(*args: object, **more: object) -> dict[str, object]:
    text = JsonLines(LABELS).format(record(*args, **more))
    assert "\n" not in text
    return cast("dict[str, object]", json.loads(text))


def test_a_wrong_format_string_does_not_cost_the_line() -> None:
    assert str(line("%d of %d", "one")["message"]).startswith("'%d of %d' ('one',)")


def test_what_json_cannot_hold_is_described() -> None:
    assert str(line("x", thing=object())["thing"]).startswith("<object object")


def test_a_line_of_json_says_when_what_and_where() -> None:
    assert line("%s left", 2, sku="tea") == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "message": "2 left",
        "logger": "orders",
        "service": "shop",
        "release": "1.4",
        "instance": "shop-1",
        "sku": "tea",
    }


@pytest.mark.usefixtures("handler_of_orders")
def test_a_line_written_in_a_handler_belongs_to_its_story() -> None:
    found = line("x")
    assert (found["service"], found["operation"]) == ("orders", "orders.place")
    assert (found["trace_id"], found["span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert (found["booking_ref"], found["level"]) == ("ABC", "warning")


def test_a_failure_is_told_with_its_stack() -> None:
    error = ValueError("no tea")
    found = line("failed", exc_info=(ValueError, error, None))["error"]
    assert found == {"type": "ValueError", "stack": "ValueError: no tea\n"}
    assert line("x", stack_info="Stack: here")["error"] == {"type": "", "stack": "Stack: here"}


def test_an_endless_message_is_cut() -> None:
    assert len(str(line("x" * (MESSAGE_CHARACTERS_MAX + 9))["message"])) == MESSAGE_CHARACTERS_MAX + 3


@given(st.text(), st.dictionaries(st.text("abcdlevmsgtime_", min_size=1), st.integers() | st.binary() | st.text()))
def test_every_record_is_one_line_of_json(message: str, extra: dict[str, object]) -> None:
    found = line(message.replace("%", ""), **{f"x_{name}": value for name, value in extra.items()})
    assert found["level"] == "warning"


@pytest.mark.usefixtures("handler_of_orders")
def test_a_line_of_text_is_for_people() -> None:
    text = TextLines(colour=False).format(record("late", sku="tea"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning orders: late operation=orders.place .*booking_ref=ABC.* sku=tea", text)


def test_a_traceback_stands_below_its_line() -> None:
    text = TextLines(colour=False).format(record("failed", exc_info=(ValueError, ValueError("no tea"), None)))
    assert text.splitlines()[-1] == "ValueError: no tea"


def test_warnings_are_coloured_where_that_is_wanted() -> None:
    assert "\033[33mwarning\033[0m" in TextLines(colour=True).format(record("x"))


def test_set_up_writes_json_where_nobody_reads_along(root: Root) -> None:
    stream = io.StringIO()
    set_up(LogSettings(), LABELS, stream)
    root.logger.debug("no")
    logging.getLogger("orders").info("yes")
    assert [json.loads(text)["message"] for text in stream.getvalue().splitlines()] == ["yes"]


def test_set_up_writes_text_on_a_terminal(root: Root) -> None:
    stream = Terminal()
    set_up(LogSettings(level="debug"), LABELS, stream)
    root.logger.debug("yes")
    assert "debug   root: yes" in stream.getvalue()


def test_the_format_that_is_asked_for_wins(root: Root) -> None:
    stream, log = Terminal(), io.StringIO()
    set_up(LogSettings(format="json"), LABELS, stream)
    root.logger.warning("a")
    set_up(LogSettings(format="text"), LABELS, log)
    root.logger.warning("b")
    assert stream.getvalue().startswith("{")
    assert log.getvalue().endswith("root: b\n")
