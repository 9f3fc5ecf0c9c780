"""Nodes that ask one another over ZeroMQ, and a bare socket that says whatever a test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import zmq

from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.stream.frame import HELLO, PREFACE, Hello, pack
from hanse.transport.stream.limits import DEFAULT_LIMITS, StreamLimits
from hanse.transport.zmq.curve import Curve
from hanse.transport.zmq.direct import zmq_direct
from hanse.transport.zmq.keys import new_keys

WAIT_SECONDS = 60.0
"""How long a test waits for what has to happen; only a failure makes it wait so long."""


def call(operation: str = "echo", body: bytes = b"", *, timeout: float = WAIT_SECONDS) -> Message:
    return Message(Kind.CALL, "1", f"things.{operation}", timeout, NO_HEADERS, body)


class Node:
    """A node that answers with what it is given, and notes whom it lost."""

    def __init__(self, direct: StreamDirect) -> None:
        self.direct: StreamDirect = direct
        self.served: int = 0
        self.lost: asyncio.Queue[str] = asyncio.Queue()

    @property
    def address(self) -> str:
        return self.direct.address

    async def serve(self, message: Message, /) -> Message:
        self.served += 1
        body = bytes(int(message.body)) if message.address == "things.grow" else message.body
        if message.address == "things.size":
            body = b"%d" % len(body)
        if message.address == "things.hold":
            await asyncio.Event().wait()
        return Message(Kind.REPLY, message.id, "", 0.0, NO_HEADERS, body)

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield Message(Kind.END, message.id, "")

    async def ask(self, other: Node | str, message: Message) -> bytes:
        to = other if isinstance(other, str) else other.address
        async with asyncio.timeout(WAIT_SECONDS):
            return (await self.direct.request(message, to)).body

    def connections(self) -> int:
        return len(self.direct._all)

    def unsent(self) -> int:
        """Bytes that wait for a slow peer."""
        streams = [wire._transport for wire in self.direct._all]
        return sum(stream.get_write_buffer_size() for stream in streams if stream is not None)


@contextlib.asynccontextmanager
async def node(
    url: str = "zmq://", *, limits: StreamLimits = DEFAULT_LIMITS, curve: Curve | None = None, instance: str = ""
) -> AsyncGenerator[Node]:
    made = Node(zmq_direct(url, Host.system(), limits=limits, curve=curve, instance=instance))
    await made.direct.open(made, made.lost.put_nowait)
    try:
        yield made
    finally:
        await made.direct.close()


class Ring:
    """A folder with the keys of some nodes, and the list of those that are allowed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.allowed: Path = folder / "allowed"
        self.public: dict[str, str] = {}

    def add(self, name: str) -> Curve:
        """A pair of keys that is not on the list yet."""
        self.public[name], secret = new_keys()
        path = self._folder / name
        path.write_text(f"{secret}\n")
        return Curve(secret=str(path), allowed=str(self.allowed))

    def allow(self, *names: str) -> None:
        lines = [f"{self.public[name]} {name}" for name in names]
        self.allowed.write_text("\n".join(["# the nodes of a test", "", *lines]))


class Bare:
    """A DEALER that a test drives by hand."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, **options: int | bytes) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self.socket.connect(address.replace("zmq://", "tcp://").partition("?")[0])

    def greet(self) -> None:
        out = bytearray(PREFACE)
        pack(HELLO, 0, Hello("bare", ""), out, 1024)
        self.socket.send(out)

    def say(self, *frames: tuple[int, int, object]) -> None:
        out = bytearray()
        for kind, number, content in frames:
            pack(kind, number, content, out, 2 * 1024 * 1024)
        self.socket.send(out)

    async def ended(self) -> None:
        """Wait until it is told that the connection has ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            while await asyncio.to_thread(self._came):
                pass

    def _came(self) -> bytes:
        assert self.socket.poll(int(WAIT_SECONDS * 1_000)), "expected to be told of the end; nothing came"
        return self.socket.recv()


@contextlib.contextmanager
def outside() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """What somebody has who is no node."""
    context = zmq.Context[zmq.Socket[bytes]]()
    try:
        yield context
    finally:
        context.destroy(0)
