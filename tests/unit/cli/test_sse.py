"""Event streams as commands read and resume them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hanse.cli.events_text import Told, differences, line_of, shown, told_by
from hanse.cli.sse import RETRY_SECONDS_MAX, Event, Retry, events_in, pause
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
