"""Nodes that ask one another over real sockets, and a bare socket that speaks as badly as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.transport.discovery import Announcement
from hanse.transport.folder import ANNOUNCE
from hanse.transport.headers import KnownHeaders, encode_headers
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.stream.frame import (
    ASKS,
    HELLO,
    PREFACE,
    REPLIES,
    REPLY,
    Asks,
    Hello,
    Unpacker,
    decode_asks,
    decode_replies,
    pack,
)
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.tls import Tls

WAIT_SECONDS = 60.0
"""How long a test waits for what has to happen; only a failure makes it wait so long."""

PATIENT = StreamLimits(connect_seconds=30.0)
"""For a machine that may have much other work: who connects may not be heard for seconds."""

QUICK = StreamLimits(beat_seconds=0.1, silent_seconds=0.3, connect_seconds=0.3)


def call(
    operation: str = "echo", body: bytes = b"", *, timeout: float = WAIT_SECONDS, kind: Kind = Kind.CALL
) -> Message:
    return Message(kind, "1", f"things.{operation}", timeout, NO_HEADERS, body)


def asked(number: int, message: Message) -> Asks:
    """A message as it is asked, with no others."""
    headers = encode_headers(message.headers)
    return message.kind, message.address, headers, [(number, message.id, message.timeout, message.body)]


def packed(kind: int, number: int, content: object = None) -> bytes:
    """A frame."""
    out = bytearray()
    pack(kind, number, content, out, 2 * 1024 * 1024)
    return bytes(out)


def asks_in(content: bytes) -> list[tuple[int, Message]]:
    """Numbers and messages of all that is asked in a frame."""
    return [
        (number, Message(kind, id, address, timeout, KnownHeaders().of(headers), body))
        for kind, address, headers, asks in decode_asks(content)
        for number, id, timeout, body in asks
    ]


def stream(operation: str, *sizes: int, timeout: float = WAIT_SECONDS) -> Message:
    body = " ".join(map(str, sizes)).encode()
    return Message(Kind.STREAM, "1", f"things.{operation}", timeout, NO_HEADERS, body)


class Things:
    """Answers by the name of the operation, and notes what becomes of it."""

    def __init__(self) -> None:
        self.came: list[Message] = []
        self.cancelled: list[str] = []
        self.made: int = 0
        self.closed: int = 0
        self.gate: asyncio.Event = asyncio.Event()
        self.changed: asyncio.Event = asyncio.Event()

    async def serve(self, message: Message, /) -> Message:
        self._note(message)
        operation, body = message.address.removeprefix("things."), message.body
        if operation == "broken":
            raise RuntimeError("a receiver that raises, which none may")
        try:
            if operation in {"hold", "stubborn"}:
                await asyncio.Event().wait()
            if operation.startswith("wait"):
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(operation)
            self.changed.set()
            if operation != "stubborn":
                raise
        if operation in {"grow", "wait_and_grow"}:
            body = bytes(int(body))
        if operation == "other":
            return Message(Kind.FAULT, message.id, "", headers=Headers(type="other"), body=body)
        return Message(Kind.REPLY, message.id, "", 0.0, NO_HEADERS, body)

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        self._note(message)
        sizes = [int(size) for size in message.body.split()]
        try:
            for size in sizes:
                self.made += 1
                self.changed.set()
                yield Message(Kind.ITEM, message.id, "", body=bytes(size))
            if message.address == "things.hang":
                await asyncio.Event().wait()
            if message.address == "things.raise":
                raise RuntimeError("a receiver that raises, which none may")
            if message.address != "things.stop":
                yield Message(Kind.END, message.id, "")
        finally:
            self.closed += 1
            self.changed.set()

    def _note(self, message: Message) -> None:
        self.came.append(message)
        self.changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever anything becomes of a message."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not true():
                self.changed.clear()
                await self.changed.wait()


class Lost:
    """The addresses that were told to be lost."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, address: str) -> None:
        self.addresses.append(address)
        self._changed.set()

    async def told(self) -> str:
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.addresses:
                await self._changed.wait()
        return self.addresses[0]


class Node:
    """A `StreamDirect` and what it serves."""

    def __init__(self, direct: StreamDirect) -> None:
        self.direct: StreamDirect = direct
        self.things: Things = Things()
        self.lost: Lost = Lost()

    @property
    def address(self) -> str:
        return self.direct.address

    async def ask(self, other: Node | str, message: Message) -> bytes:
        """What it was answered with, in time."""
        to = other if isinstance(other, str) else other.address
        async with asyncio.timeout(WAIT_SECONDS):
            return (await self.direct.request(message, to)).body

    async def read_one_and_wait(self, to: str) -> None:
        """Take one item of a stream, and no more."""
        async with closing(self.direct.stream(stream("items"), to)) as replies:
            _ = await anext(replies)
            await asyncio.Event().wait()

    async def read(self, other: Node | str, message: Message) -> list[int]:
        """The sizes of the items of a stream, in time."""
        sizes: list[int] = []
        to = other if isinstance(other, str) else other.address
        async with asyncio.timeout(WAIT_SECONDS), closing(self.direct.stream(message, to)) as replies:
            async for reply in replies:
                if reply.kind is not Kind.ITEM:
                    assert reply.kind is Kind.END
                    return sizes
                sizes.append(len(reply.body))
        raise AssertionError("the stream just stopped")

    def connections(self) -> int:
        return len(self.direct._all)


class Place:
    """Where the nodes of a test meet: `unix:` or `tcp://`."""

    def __init__(self, scheme: str, folder: Path) -> None:
        self.url: str = f"unix:{folder}" if scheme == "unix" else "tcp://"
        self.folder: Path = folder

    @contextlib.asynccontextmanager
    async def node(self, limits: StreamLimits = PATIENT, tls: Tls | None = None, url: str = "") -> AsyncGenerator[Node]:
        node = Node(StreamDirect(url or self.url, Host.system(), limits=limits, tls=tls))
        await node.direct.open(node.things, node.lost)
        try:
            yield node
        finally:
            await node.direct.close()


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hs-", dir="/tmp") as folder:
        yield Path(folder)


class Bare:
    """A socket that sends what a test gives it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader: asyncio.StreamReader = reader
        self.writer: asyncio.StreamWriter = writer
        self._unpacker = Unpacker(2 * 1024 * 1024)
        self._frames: list[tuple[int, int, bytes]] = []

    @classmethod
    async def to(cls, address: str) -> Bare:
        if address.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(address.removeprefix("unix:")))
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def greet(self, address: str = "") -> None:
        self.writer.write(PREFACE)
        self.send(HELLO, 0, Hello("bare", address))

    def greet_as(self, here: Announcement) -> None:
        """Greet as nodes do in a folder."""
        self.writer.write(PREFACE)
        self.send(ANNOUNCE, 0, here)

    def send(self, kind: int, number: int, content: object = None) -> None:
        self.writer.write(packed(kind, number, content))

    def ask(self, number: int, message: Message) -> None:
        self.send(ASKS, 0, [asked(number, message)])

    async def asked(self) -> tuple[int, Message]:
        """Number and message of the next that is asked."""
        number, content = await self.frame(ASKS)
        ((_, message),) = asks_in(content)
        return number, message

    async def frame(self, kind: int) -> tuple[int, bytes]:
        """Number and content of the next frame of a kind; others are passed over.

        What comes in frames of several is given as if each had one of its own.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                while self._frames:
                    came, number, content = self._frames.pop(0)
                    if came == kind:
                        return number, content
                data = await self.reader.read(len(self._unpacker.room()))
                if not data:
                    raise EOFError
                view = self._unpacker.room()[: len(data)]
                view[:] = data
                for came, number, part in self._unpacker.took(len(data)):
                    self._frames += _single(came, number, bytes(part))

    async def ended(self) -> None:
        """Wait until the other side closes."""
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def decode(content: bytes) -> object:
    return msgspec.msgpack.decode(content)


def _single(kind: int, number: int, content: bytes) -> list[tuple[int, int, bytes]]:
    if kind == ASKS:
        return [
            (ASKS, number, msgspec.msgpack.encode([asked(number, message)])) for number, message in asks_in(content)
        ]
    if kind == REPLIES:
        return [(REPLY, replied, body) for replied, body in decode_replies(content)]
    return [(kind, number, content)]
