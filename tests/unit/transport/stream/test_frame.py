import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Malformed, TooLarge
from hanse.kernel.message import NO_HEADERS, Headers, Identity, Kind, Message
from hanse.transport.stream.frame import ANSWER, ASKS, BEAT, PREFACE, REPLY, Unpacker, decode_message, head, pack

LIMIT = 200_000

messages = st.builds(
    Message,
    st.sampled_from(Kind),
    st.text(max_size=40),
    st.text(max_size=40),
    st.floats(0, 1e6),
    st.builds(
        Headers,
        traceparent=st.text(max_size=55),
        tags=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
        identity=st.builds(Identity, st.text(max_size=9), scopes=st.frozensets(st.text(max_size=9), max_size=3)),
    ),
    st.binary(max_size=300) | st.integers(0, 150_000).map(bytes),
)
frames = st.lists(st.tuples(st.sampled_from([ASKS, ANSWER]), st.integers(0, 2**64 - 1), messages), max_size=8)


def feed(unpacker: Unpacker, data: bytes, sizes: list[int]) -> list[tuple[int, int, bytes]]:
    """Give bytes in pieces; the frames that came out."""
    found, at = list[tuple[int, int, bytes]](), 0
    while at < len(data):
        room = unpacker.room()
        size = min(len(room), len(data) - at, sizes.pop(0) if sizes else len(data))
        room[:size] = data[at : at + size]
        at += size
        found += [(kind, number, bytes(content)) for kind, number, content in unpacker.took(size)]
    return found


def packed(*contents: tuple[int, int, object]) -> bytes:
    out = bytearray(PREFACE)
    for kind, number, content in contents:
        pack(kind, number, content, out, LIMIT)
    return bytes(out)


@given(frames, st.lists(st.integers(1, 70_000), max_size=40), st.sampled_from([16, 64 * 1024]))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    given_frames: list[tuple[int, int, Message]], sizes: list[int], chunk: int
) -> None:
    found = feed(Unpacker(LIMIT, chunk), packed(*given_frames), sizes)
    assert [(kind, number, decode_message(content)) for kind, number, content in found] == given_frames


@given(st.binary(max_size=2_000), st.booleans())
def test_garbage_is_refused_or_waits_for_more(garbage: bytes, prefaced: bool) -> None:
    unpacker = Unpacker(1_000, 16)
    try:
        found = feed(unpacker, PREFACE + garbage if prefaced else garbage, [])
    except Malformed:
        return
    assert sum(len(content) for _, _, content in found) <= len(garbage)


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n", b"h", b"hansa", b"\x16\x03\x01"])
def test_who_does_not_greet_is_refused_as_soon_as_that_shows(greeting: bytes) -> None:
    if greeting == b"h":
        assert feed(Unpacker(LIMIT), greeting, []) == []
        return
    with pytest.raises(Malformed, match="expected to greet with b'hanse'"):
        feed(Unpacker(LIMIT), greeting, [])


def test_another_version_is_named() -> None:
    with pytest.raises(Malformed, match="version 3 of Hanse's frames was expected, version 9 came"):
        feed(Unpacker(LIMIT), b"hanse\x09", [])


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(Malformed, match="at most 10 bytes was expected, one of 11 came"):
        feed(Unpacker(10), PREFACE + head(11, REPLY, 1), [])


def test_a_length_alone_takes_no_memory() -> None:
    unpacker = Unpacker(10**9, 64)
    assert feed(unpacker, PREFACE + head(10**9, REPLY, 1), []) == []
    assert len(unpacker._space) <= 128


def test_room_for_a_large_frame_is_given_back() -> None:
    unpacker = Unpacker(LIMIT, 64)
    found = feed(unpacker, packed((ASKS, 1, Message(Kind.CALL, "1", "a.b", body=bytes(100_000)))), [])
    assert len(found) == 1
    assert len(unpacker._space) == 64


def test_what_is_too_large_to_be_sent_leaves_nothing_behind() -> None:
    out = bytearray(b"before")
    with pytest.raises(TooLarge, match="a message with its headers is over its limit of 100 bytes, with"):
        pack(ASKS, 1, Message(Kind.CALL, "1", "a.b", 0.0, NO_HEADERS, bytes(100)), out, 100)
    assert out == b"before"


def test_a_frame_without_content_is_a_head() -> None:
    out = bytearray()
    pack(BEAT, 0, None, out, 10)
    assert msgspec.msgpack.decode(bytes(out[13:])) is None
