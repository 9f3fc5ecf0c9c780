"""The protocol of NATS, cut into what was said: the same however the bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Malformed
from hanse.transport.nats.parse import LINE_BYTES_MAX, PAYLOAD_BYTES_MAX, Parser, status_of

Said = tuple[bytes, ...]

tokens = st.text("abcXYZ019-_/%", min_size=1, max_size=12).map(str.encode)
payloads = st.binary(max_size=200)
headers = st.binary(max_size=50).map(lambda extra: b"NATS/1.0\r\n" + extra + b"\r\n\r\n")


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, Said]:
    """A message as bytes, and as what it says."""
    subject, reply, payload = draw(tokens), draw(st.one_of(st.just(b""), tokens)), draw(payloads)
    head = draw(st.one_of(st.just(b""), headers))
    middle = b" " + reply if reply else b""
    if head:
        sizes = b"%d %d" % (len(head), len(head) + len(payload))
        line = b"HMSG " + subject + b" 7" + middle + b" " + sizes
    else:
        line = b"MSG " + subject + b" 7" + middle + b" %d" % len(payload)
    return line + b"\r\n" + head + payload + b"\r\n", (subject, reply, payload, head)


others = st.sampled_from(
    [(b"PING\r\n", (b"PING", b"")), (b"+OK\r\n", (b"+OK", b"")), (b"-ERR 'no'\r\n", (b"-ERR", b"'no'"))]
)


def heard(*chunks: bytes) -> list[Said]:
    said: list[Said] = []
    parser = Parser({b"7": lambda *message: said.append(message)}, lambda *line: said.append(line))
    for chunk in chunks:
        parser.feed(chunk)
    return said


@given(st.lists(st.one_of(messages(), others), max_size=8), st.data())
def test_it_does_not_matter_how_bytes_are_cut(all_said: list[tuple[bytes, Said]], data: st.DataObject) -> None:
    whole = b"".join(wire for wire, _ in all_said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert heard(*pieces) == [said for _, said in all_said]


def test_a_large_message_may_come_byte_by_byte() -> None:
    wire = b"MSG a 7 1000\r\n" + bytes(1000) + b"\r\nPING\r\n"
    assert heard(*(wire[n : n + 1] for n in range(len(wire)))) == [(b"a", b"", bytes(1000), b""), (b"PING", b"")]


def test_messages_of_subscriptions_that_ended_are_left_out() -> None:
    assert heard(b"MSG a 8 1\r\nx\r\nPING\r\n") == [(b"PING", b"")]


@pytest.mark.parametrize(
    "wire",
    [
        b"MSG a 7\r\n",
        b"MSG a 7 x\r\n",
        b"MSG a 7 -1\r\n",
        b"MSG a 7 b c 1\r\n",
        b"HMSG a 7 1\r\n",
        b"HMSG a 7 5 4\r\n....\r\n",
        b"HMSG a 7 x 4\r\n....\r\n",
        b"MSG a 7 %d\r\n" % (PAYLOAD_BYTES_MAX + 1),
        b"MSG a 7 " + b"9" * 5_000 + b"\r\n",
        b"HMSG a 7 " + b"9" * 5_000 + b" 4\r\n....\r\n",
        b"x" * (LINE_BYTES_MAX + 1),
    ],
)
def test_what_is_none_of_nats_is_refused(wire: bytes) -> None:
    with pytest.raises(Malformed, match="expected"):
        heard(wire)


@given(st.binary(max_size=300))
def test_any_bytes_are_understood_or_refused(wire: bytes) -> None:
    try:
        heard(wire)
    except Malformed as fault:
        assert "expected" in fault.detail  # noqa: PT017 - either end is right


@pytest.mark.parametrize(("head", "status"), [(b"", ""), (b"NATS/1.0 503 No\r\n\r\n", "503"), (b"\xff \xff\r\n", "�")])
def test_a_status_is_what_stands_in_the_first_line(head: bytes, status: str) -> None:
    assert status_of(head) == status
