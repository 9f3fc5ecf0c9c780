"""RFC 6455 over real sockets: frames as no library of ours would send them. The cases are those of Autobahn's suite."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

PROGRAM = """
import asyncio, sys
from hanse import App, Collection, Gateway, Resource, Service
from hanse.gateway.limits import Limits
from hanse.gateway.serve import loop_factory, serve
from hanse.kernel.settings import GatewaySettings, Settings

class Order(Resource):
    sku: str

class Shop(Service):
    orders: Collection[Order]

gateway = Gateway(limits=Limits(message_bytes=100_000, garbage=3)).resources(Order)
settings = Settings(gateway=GatewaySettings(port=0))
with asyncio.Runner(loop_factory=loop_factory()) as runner:
    announce = lambda url: print(url, flush=True)
    sys.exit(runner.run(serve(App("shop", Shop, gateway=gateway), settings, announce=announce)))
"""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x0f\xf0\x55\xaa"
UTF8 = "κόσμε \U0001f680"


def frame(opcode: int, body: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A frame of a client."""
    first = (0x80 if fin else 0) | (reserved << 4) | opcode
    flag = 0x80 if masked else 0
    if len(body) < 126:
        size = bytes([flag | len(body)])
    elif len(body) < 0x10000:
        size = bytes([flag | 126]) + struct.pack("!H", len(body))
    else:
        size = bytes([flag | 127]) + struct.pack("!Q", len(body))
    mask = MASK if masked else b""
    covered = bytes(byte ^ key for byte, key in zip(body, itertools.cycle(mask or b"\0"), strict=False))
    return bytes([first]) + size + mask + covered


def closing(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def ask(id: object = 1, size: int = 0) -> bytes:
    """A message that is answered under its id."""
    text = msgspec.json.encode({"op": "get", "id": id, "collection": "orders", "key": "1"})
    return text.ljust(size)


class Talk:
    """One connection after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Talk:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /live HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"permessage-deflate" not in head
        return cls(reader, writer)

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def send_by_octet(self, data: bytes) -> None:
        for octet in data:
            self.writer.write(bytes([octet]))
            await asyncio.sleep(0)

    async def hear(self) -> tuple[int, bytes]:
        """The next frame."""
        first, size = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80, "whole frames, without reserved bits"
        assert size < 0x80, "a server does not mask"
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def answer(self) -> Any:  # noqa: ANN401 - JSON
        opcode, body = await self.hear()
        assert opcode == TEXT, (opcode, body)
        return msgspec.json.decode(body)

    async def closed(self) -> int | None:
        """The code that the server closes with, and then the connection; None for a close without a code."""
        opcode, body = await self.hear()
        assert opcode == CLOSE, (opcode, body)
        with contextlib.suppress(ConnectionResetError):
            assert await self.reader.read() == b""
        return struct.unpack("!H", body[:2])[0] if body else None


@pytest.fixture(scope="module")
def port() -> Any:  # noqa: ANN401 - a generator of ints
    """A server for all of these cases: none may harm the next."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield int(process.stdout.readline().decode().strip().rpartition(":")[2])
        process.terminate()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.fixture
async def talk(port: int) -> AsyncIterator[Talk]:
    talk = await Talk.open(port)
    yield talk
    talk.writer.close()


@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65_535, 65_536, 99_999])
async def test_a_message_of_any_size_is_answered(talk: Talk, size: int) -> None:
    talk.send(frame(TEXT, ask(7, size)))

    assert (await talk.answer())["id"] == 7


async def test_a_message_may_come_octet_by_octet(talk: Talk) -> None:
    await talk.send_by_octet(frame(TEXT, ask(7, 130)))

    assert (await talk.answer())["id"] == 7


async def test_many_messages_may_come_at_once(talk: Talk) -> None:
    talk.send(*(frame(TEXT, ask(id)) for id in range(50)))

    assert {(await talk.answer())["id"] for _ in range(50)} == set(range(50))


async def test_bytes_are_answered_with_what_was_expected(talk: Talk) -> None:
    talk.send(frame(BINARY, b"\xff\x00"))

    assert (await talk.answer())["error"]["code"] == "malformed"


@pytest.mark.parametrize("body", [b"", b"Hello", b"\x00\xff\xfe\xfd\xfc\xfb", b"x" * 125])
async def test_a_ping_is_answered_with_what_it_held(talk: Talk, body: bytes) -> None:
    talk.send(frame(PING, body))

    assert await talk.hear() == (PONG, body)


async def test_pings_are_answered_in_order(talk: Talk) -> None:
    talk.send(*(frame(PING, b"%d" % n) for n in range(10)))

    assert [(await talk.hear())[1] for _ in range(10)] == [b"%d" % n for n in range(10)]


async def test_a_ping_may_come_octet_by_octet(talk: Talk) -> None:
    await talk.send_by_octet(frame(PING, b"x" * 125))

    assert await talk.hear() == (PONG, b"x" * 125)


async def test_a_pong_that_nobody_asked_for_is_nothing(talk: Talk) -> None:
    talk.send(frame(PONG, b"unasked"), frame(PING, b"after"))

    assert await talk.hear() == (PONG, b"after")


WRONG = {
    "a ping that is too long": [frame(PING, b"x" * 126)],
    "a close that is too long": [frame(CLOSE, struct.pack("!H", 1000) + b"x" * 124)],
    "a reserved bit": [frame(TEXT, ask(), reserved=4)],
    "another reserved bit": [frame(TEXT, ask(), reserved=2)],
    "the last reserved bit": [frame(TEXT, ask(), reserved=1)],
    "a reserved bit of a ping": [frame(PING, b"", reserved=7)],
    "a reserved bit of a close": [frame(CLOSE, b"", reserved=7)],
    "a fragmented ping": [frame(PING, b"x", fin=False)],
    "a fragmented pong": [frame(PONG, b"x", fin=False)],
    "a continuation of nothing": [frame(CONTINUATION, b"x")],
    "a fragment of nothing": [frame(CONTINUATION, b"x", fin=False)],
    "a continuation after the end": [
        *(frame(TEXT, b"{", fin=False), frame(CONTINUATION, b"}"), frame(CONTINUATION, b"x")),
    ],
    "a message amid another": [frame(TEXT, b"{", fin=False), frame(TEXT, b"}")],
    "bytes amid a message": [frame(TEXT, b"{", fin=False), frame(BINARY, b"}", fin=False)],
    "a frame without a mask": [frame(TEXT, ask(), masked=False)],
    "half a close code": [frame(CLOSE, b"\x03")],
} | {f"the opcode {opcode}": [frame(opcode, b"x")] for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}


@pytest.mark.parametrize("frames", WRONG.values(), ids=WRONG.keys())
async def test_what_breaks_the_protocol_is_closed(talk: Talk, frames: list[bytes]) -> None:
    talk.send(*frames)
    while (told := await talk.hear())[0] == TEXT:
        pass  # what came whole before it is answered

    assert (told[0], struct.unpack("!H", told[1][:2])) == (CLOSE, (1002,))


@pytest.mark.parametrize("frames", WRONG.values(), ids=WRONG.keys())
async def test_what_came_before_it_is_not_lost(talk: Talk, frames: list[bytes]) -> None:
    talk.send(frame(PING, b"before"), *frames)

    assert await talk.hear() == (PONG, b"before")


@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
async def test_a_message_may_come_in_fragments(talk: Talk, pieces: int) -> None:
    body = ask(UTF8)
    cuts = [body[n * len(body) // pieces : (n + 1) * len(body) // pieces] for n in range(pieces)]
    frames = [
        frame(TEXT if n == 0 else CONTINUATION, cut, fin=n == pieces - 1) + frame(PING, b"%d" % n)
        for n, cut in enumerate(cuts)
    ]
    talk.send(*frames)

    heard = [await talk.hear() for _ in range(pieces + 1)]
    assert [body for opcode, body in heard if opcode == PONG] == [b"%d" % n for n in range(pieces)]
    assert [msgspec.json.decode(body)["id"] for opcode, body in heard if opcode == TEXT] == [UTF8]


async def test_fragments_may_be_empty_and_cut_characters(talk: Talk) -> None:
    body = ask(UTF8)
    talk.send(frame(TEXT, b"", fin=False))
    talk.send(*(frame(CONTINUATION, body[n : n + 1], fin=False) for n in range(len(body))))
    talk.send(frame(CONTINUATION, b""))

    assert (await talk.answer())["id"] == UTF8


INVALID = [b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", b"\xff", b"\xc0\xaf", b"\xf4\x90\x80\x80"]


@pytest.mark.parametrize("text", INVALID)
@pytest.mark.parametrize("whole", [True, False])
async def test_text_that_is_none_is_closed(talk: Talk, text: bytes, whole: bool) -> None:
    if whole:
        talk.send(frame(TEXT, text))
    else:
        talk.send(frame(TEXT, text[:1], fin=False), frame(CONTINUATION, text[1:]))

    assert await talk.closed() == 1007


async def test_no_endless_row_of_empty_fragments_is_kept(talk: Talk) -> None:
    talk.send(frame(TEXT, b"", fin=False), frame(CONTINUATION, b"", fin=False) * 100_000)
    talk.send(frame(CONTINUATION, ask(3)))

    assert (await talk.answer())["id"] == 3


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_a_close_is_answered_with_its_code(talk: Talk, code: int) -> None:
    talk.send(closing(code, "\u2713".encode()))

    assert await talk.closed() == code


async def test_a_close_without_a_code_is_answered_without_one(talk: Talk) -> None:
    talk.send(closing())

    assert await talk.closed() in {None, 1000}


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535])
async def test_a_close_with_a_code_that_may_not_be_is_wrong(talk: Talk, code: int) -> None:
    talk.send(closing(code))

    assert await talk.closed() == 1002


async def test_a_close_whose_reason_is_no_text_is_wrong(talk: Talk) -> None:
    talk.send(closing(1000, b"\xff\xfe"))

    assert await talk.closed() in {1002, 1007}


@pytest.mark.parametrize("after", [frame(PING, b"late"), frame(TEXT, ask()), closing(1001), b"\xff\xff"])
async def test_nothing_is_said_after_a_close(talk: Talk, after: bytes) -> None:
    talk.send(closing(1000), after)

    assert await talk.closed() == 1000


async def test_a_message_over_the_limit_closes(talk: Talk) -> None:
    talk.send(frame(TEXT, ask(1, 100_001)))

    assert await talk.closed() == 1009


async def test_fragments_over_the_limit_close_before_the_last(talk: Talk) -> None:
    talk.send(frame(TEXT, b" " * 60_000, fin=False), frame(CONTINUATION, b" " * 60_000, fin=False))

    assert await talk.closed() == 1009


async def test_a_size_that_nobody_can_send_closes_at_once(talk: Talk) -> None:
    talk.send(bytes([0x81, 0xFF]) + struct.pack("!Q", 2**62))

    assert await talk.closed() in {1002, 1009}


async def test_who_goes_without_a_word_leaves_no_trace(port: int) -> None:
    talk = await Talk.open(port)
    talk.send(frame(TEXT, b"half a mess", fin=False))
    talk.writer.transport.abort()
    other = await Talk.open(port)
    other.send(frame(TEXT, ask(8)))

    assert (await other.answer())["id"] == 8
    other.writer.close()
