"""A dump as text says what was dumped, and notices whatever became of it on its way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Malformed
from hanse.kernel.message import Headers
from hanse.store.base import CollectionSchema, Entry, FieldSchema, Mark, Op, Position, Row
from hanse.store.dump import PIECE_MAX, Entries, MarkAt, Marks, Moment, Piece, Positions, Rows
from hanse.store.dump_text import Head, Reader, Writer

HEAD = Head(
    "shop", "orders", 1.5, Moment("log", 7, 2), [CollectionSchema("orders", {"a": FieldSchema("string", True)})]
)
ENTRIES = [
    Entry(3, 1.0, Op.CREATED, "orders", "1", "m3", None, b'{"a":"x"}', 0, Headers(tags={"b": "c"}, attempt=2)),
    Entry(4, 1.0, Op.DELETED, "orders", "1", "m4", b'{"a":"x"}', None, 3, Headers()),
    Entry(5, 2.0, Op.EMITTED, "paid", "k", "m5", None, b"\xff not JSON", 0, Headers()),
    Entry(6, 2.0, Op.EMITTED, "paid", "k", "m6", None, b"null", 0, Headers()),
    Entry(7, 2.0, Op.EMITTED, "paid", "k", "m7", None, b"", 0, Headers()),
]
PIECES: list[Piece] = [
    Rows("orders", [Row("1", 3, b'{"a":"x"}'), Row("\x00ü", 4, b"{}")]),
    Rows("notes", [Row("1", 5, b'{"n":1.50}')]),
    Entries(ENTRIES),
    Marks([MarkAt(Mark("s", "k", b"\x00", b"r"), 2.0)]),
    Positions([Position("relay", 7)]),
]


def written(pieces: list[Piece]) -> bytes:
    writer = Writer()
    return b"".join([writer.head(HEAD), *map(writer.piece, pieces), writer.end()])


def lines(text: bytes) -> list[bytes]:
    return text.splitlines(keepends=True)


def read(text: bytes) -> list[Piece]:
    return [*Reader(lines(text)).pieces()]


def test_what_was_written_is_read_again() -> None:
    text = written(PIECES)
    reader = Reader(lines(text))
    assert reader.head == HEAD
    assert [*reader.pieces()] == PIECES
    assert (reader.counts.things, reader.number) == (10, 12)


def test_the_end_carries_what_sha256sum_says_of_the_lines_before_it() -> None:
    text = written(PIECES)
    body, end = text[: text.rindex(b"\n", 0, -1) + 1], text.splitlines()[-1]
    assert hashlib.sha256(body).hexdigest().encode() in end


def test_a_value_of_several_lines_becomes_one() -> None:
    assert read(written([Rows("orders", [Row("1", 1, b'{\r\n "a": "x y"\n}')])])) == [
        Rows("orders", [Row("1", 1, b'{"a":"x y"}')])
    ]


def test_pieces_that_are_read_are_small() -> None:
    names = [Position(f"{number:04}", number) for number in range(PIECE_MAX + 3)]
    assert [len(one.positions) for one in read(written([Positions(names)])) if isinstance(one, Positions)] == [
        PIECE_MAX,
        3,
    ]


def test_a_dump_of_nothing_is_a_dump() -> None:
    assert read(written([])) == []


SPOILED: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda text: text[: text.rindex(b"\n", 0, -1) + 1], "expected the end of the dump, got nothing after line 11"),
    (lambda text: text[:-1], "expected line 12 of the dump to end; the file was cut off"),
    (lambda text: text[:-40], "line 12 of the dump is damaged.*; the file was cut off"),
    (lambda text: text.replace(b'"x"', b'"y"', 1), "the dump was damaged or changed"),
    (
        lambda text: b"".join([*text.splitlines(keepends=True)[:1], *text.splitlines(keepends=True)[2:]]),
        "got 9 rows",
    ),
    (lambda text: text.replace(b'"rev":4', b'"rev":"4"'), "line 3 of the dump is damaged: Expected `int`"),
    (
        lambda text: text.replace(b'{"kind":"mark"', b'{"kind":"bark"'),
        "line 10 of the dump is damaged: Invalid value",
    ),
    (lambda text: text + b"more\n", "expected nothing after the end"),
    (lambda text: text + text, "expected nothing after the end"),
    (lambda text: text.replace(b"\n", b"\n" + lines(text)[0], 1), "expected one head"),
    (lambda text: text.replace(b'"version":1', b'"version":2'), "version 2, of a newer Hanse"),
    (lambda text: text.replace(b"hanse.store", b"nobodys"), "expected a dump of a store"),
    (lambda text: text.replace(b'"log_id"', b'"lag_id"'), "line 1 of the dump is damaged"),
    (lambda _: b"", "expected a dump of a store"),
    (lambda _: b"\x1f\x8b\x00", "expected a dump of a store"),
]


@pytest.mark.parametrize(("spoil", "why"), SPOILED)
def test_what_is_wrong_is_said(spoil: Callable[[bytes], bytes], why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read(spoil(written(PIECES)))


@given(st.data())
def test_no_single_change_of_a_byte_goes_unnoticed(data: st.DataObject) -> None:
    text = written(PIECES)
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != text[at]))
    changed = text[:at] + bytes([byte]) + text[at + 1 :]
    try:
        pieces = read(changed)
    except Malformed:
        return
    # Within the end, what is left out of it may be written in another way; nothing else may.
    assert at >= text.rindex(b"\n", 0, -1)
    assert pieces == PIECES
