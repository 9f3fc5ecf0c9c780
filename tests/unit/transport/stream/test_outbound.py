import asyncio
from collections.abc import Callable

import pytest

from hanse.kernel.faults import TooLarge
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.transport.stream.frame import (
    ASKS,
    CANCEL,
    HEADERS_BYTES_MAX,
    PREFACE,
    REPLIES,
    REPLY,
    SMALL_BYTES,
    TOGETHER_BYTES_MAX,
    TOGETHER_MAX,
    Unpacker,
    decode_asks,
    decode_replies,
    frame_bytes_max,
)
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.outbound import FLUSH_BYTES, Outbound

from .nodes import asks_in, call

LIMITS = StreamLimits(bytes_max=1_000_000)


class Written(asyncio.Transport):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def frames(self) -> list[tuple[int, int, bytes]]:
        data = b"".join(self.writes)
        unpacker = Unpacker(frame_bytes_max(LIMITS.bytes_max), len(data) + 1)
        unpacker.room()[: len(data)] = data
        return [(kind, number, bytes(content)) for kind, number, content in unpacker.took(len(data))]


async def written(say: Callable[[Outbound], None]) -> Written:
    transport, out = Written(), Outbound(LIMITS)
    out.open(transport, PREFACE)
    say(out)
    await asyncio.sleep(0)
    return transport


async def test_what_is_small_goes_together_and_in_one_write() -> None:
    def say(out: Outbound) -> None:
        for number in range(3):
            out.ask(number, call(body=b"%d" % number))
            out.reply(number, b"r")

    transport = await written(say)
    assert len(transport.writes) == 2, "the preface, and all the rest"
    (asks, _, asked), (replies, _, replied) = transport.frames()
    assert (asks, replies) == (ASKS, REPLIES)
    assert [message.body for _, message in asks_in(asked)] == [b"0", b"1", b"2"]
    assert decode_replies(replied) == [(0, b"r"), (1, b"r"), (2, b"r")]


async def test_what_is_asked_stays_in_order_with_what_is_said_of_it() -> None:
    def say(out: Outbound) -> None:
        out.ask(1, call())
        out.ask(2, call(body=bytes(SMALL_BYTES)))
        out.send(CANCEL, 1, None)
        out.ask(3, call())

    frames = (await written(say)).frames()
    assert [kind for kind, _, _ in frames] == [ASKS, ASKS, CANCEL, ASKS]
    assert [asks_in(content)[0][0] for kind, _, content in frames if kind == ASKS] == [1, 2, 3]


async def test_large_answers_are_not_packed() -> None:
    def say(out: Outbound) -> None:
        out.reply(2**40, bytes(SMALL_BYTES + 1))

    ((kind, number, content),) = (await written(say)).frames()
    assert (kind, number, content) == (REPLY, 2**40, bytes(SMALL_BYTES + 1))


async def test_much_that_is_small_is_several_frames_and_several_writes() -> None:
    count = 2 * FLUSH_BYTES // SMALL_BYTES

    def say(out: Outbound) -> None:
        for number in range(count):
            out.ask(number, call(body=bytes(SMALL_BYTES // 2)))
            out.reply(number, bytes(SMALL_BYTES))

    transport = await written(say)
    assert len(transport.writes) > 2
    frames = transport.frames()
    asked = [number for kind, _, content in frames if kind == ASKS for number, _ in asks_in(content)]
    replied = [number for kind, _, content in frames if kind == REPLIES for number, _ in decode_replies(content)]
    assert asked == replied == list(range(count))


@pytest.mark.parametrize("alike", [True, False])
async def test_the_largest_that_goes_together_fits_into_a_frame_of_the_smallest_limit(alike: bool) -> None:
    headers = [Headers(key=str(number) + "k" * (SMALL_BYTES // 2)) for number in range(1 if alike else 5)]
    said = [
        Message(
            Kind.CALL, f"{number}" + "i" * (SMALL_BYTES // 2), "a" * (SMALL_BYTES // 3), body=bytes(SMALL_BYTES // 3)
        )
        for number in range(3 * TOGETHER_MAX)
    ]

    def say(out: Outbound) -> None:
        for number, message in enumerate(said):
            out.ask(number + 7, message.with_headers(headers[number % len(headers)]))
            out.reply(number, bytes(SMALL_BYTES))

    frames = (await written(say)).frames()
    assert max(len(content) for _, _, content in frames) < TOGETHER_BYTES_MAX <= frame_bytes_max(1)
    together = [sum(len(asks) for *_, asks in decode_asks(content)) for kind, _, content in frames if kind == ASKS]
    assert sum(together) == len(said)
    assert max(together) <= TOGETHER_MAX
    assert max(len(decode_replies(content)) for kind, _, content in frames if kind == REPLIES) <= TOGETHER_MAX


async def test_headers_of_one_request_are_not_those_of_the_next() -> None:
    headers = [Headers(key="a"), Headers(key="a"), NO_HEADERS, Headers(key="b")]

    def say(out: Outbound) -> None:
        for number, one in enumerate(headers):
            out.ask(number, call().with_headers(one))

    ((_, _, content),) = (await written(say)).frames()
    assert [message.headers for _, message in asks_in(content)] == headers


async def test_what_is_asked_at_one_address_under_the_same_headers_says_so_once() -> None:
    one, other = call().with_headers(Headers(key="a")), call("wait")
    said = [one, one, other, other.with_headers(one.headers)]

    def say(out: Outbound) -> None:
        for number, message in enumerate(said):
            out.ask(number, message)
            out.reply(number, b"")

    ((_, _, content), _) = (await written(say)).frames()
    assert [len(asks) for _, _, _, asks in decode_asks(content)] == [2, 1, 1]
    assert [message for _, message in asks_in(content)] == said


async def test_what_cannot_be_sent_spoils_nothing_else() -> None:
    def say(out: Outbound) -> None:
        out.ask(1, call(body=b"1"))
        with pytest.raises(TooLarge, match="a message with its headers"):
            out.ask(2, call().with_headers(Headers(tags={"a": "b" * (LIMITS.bytes_max + HEADERS_BYTES_MAX)})))
        with pytest.raises(UnicodeEncodeError):
            out.ask(3, Message(Kind.CALL, "\ud800", "a.b"))
        out.ask(4, Message(Kind.CALL, "ä", "a.b", body=b"4"))

    frames = (await written(say)).frames()
    assert [message.body for _, _, content in frames for _, message in asks_in(content)] == [b"1", b"4"]


async def test_nothing_is_gathered_for_a_connection_that_is_lost() -> None:
    def say(out: Outbound) -> None:
        out.ask(1, call())
        out.reply(1, b"")
        out.close()
        out.ask(2, call())
        out.reply(2, b"")
        out.send(CANCEL, 2, None)
        out.flush()

    assert (await written(say)).frames() == []
