"""Server-Sent Events, as a browser reads them."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from hanse.sim.sse import SseEvent, SseParser

STREAM = (
    b": hello\n\nretry: 1000\n\nid: 7\nevent: updated\ndata: {}\n\n"
    b"data: one\r\ndata: two\r\n\r\nid\rdata:no space\r\rdata: caf\xc3\xa9\n\nevent: nothing\n\nid: 8\n\ndata: la"
)
EVENTS = [
    SseEvent("7", "updated", "{}"),
    SseEvent("7", "message", "one\ntwo"),
    SseEvent("", "message", "no space"),
    SseEvent("", "message", "café"),
]


def test_events_come_with_the_last_id_there_was() -> None:
    parser = SseParser()
    assert parser.feed(STREAM) == EVENTS
    assert parser.last_id == "8"
    assert parser.feed(b"st\n\n") == [SseEvent("8", "message", "last")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_it_makes_no_difference_how_they_are_cut_in_pieces(places: list[int]) -> None:
    parser, cuts = SseParser(), sorted({0, *places, len(STREAM)})
    found = [event for start, end in pairwise(cuts) for event in parser.feed(STREAM[start:end])]
    assert found == EVENTS


def test_a_stream_goes_on_from_the_id_of_another() -> None:
    assert SseParser("7").feed(b"data: x\n\n") == [SseEvent("7", "message", "x")]


def test_an_id_that_cannot_be_sent_back_is_none() -> None:
    assert SseParser("7").feed(b"id: 8\0\ndata: x\n\n") == [SseEvent("7", "message", "x")]


@pytest.mark.parametrize(("data", "value"), [("{}", {}), ("7", 7)])
def test_data_is_read_as_json(data: str, value: object) -> None:
    assert SseEvent("", "message", data).json() == value
