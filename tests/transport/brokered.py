"""Nodes on real brokers, whichever these are, and what is asked of them."""

from __future__ import annotations

import asyncio
import itertools
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.planted.unmeasured import unmeasured

from hanse.kernel.faults import CouldNotStart, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.kernel.resp import Wire
from hanse.testing.transport_things import Things
from hanse.transport.amqp.connection import Wires
from hanse.transport.amqp.options import Options as AmqpOptions
from hanse.transport.amqp.transport import AmqpTransport
from hanse.transport.base import Transport
from hanse.transport.brokered.frames import head_of, rest_of
from hanse.transport.nats.login import Options as NatsOptions
from hanse.transport.nats.transport import NatsTransport
from hanse.transport.redis.options import Options as RedisOptions
from hanse.transport.redis.transport import RedisTransport

from .process import ServerProcess

Node = AmqpTransport | NatsTransport | RedisTransport

WAIT_SECONDS = 60.0

apps = map("app-%d".__mod__, itertools.count(1))
"""Names that no other test has used on the same server."""


def node(url: str, app: str = "", **options: Any) -> Node:  # noqa: ANN401 - those of three kinds
    """A node that is not open, of an app of its own unless one is named."""
    app = app or next(apps)
    scheme = url.partition("://")[0]
    if scheme in {"nats", "tls"}:
        return NatsTransport(url, Host.system(), NatsOptions(app=app, **options))
    if scheme in {"redis", "rediss"}:
        return RedisTransport(url, Host.system(), RedisOptions(app=app, **options))
    return AmqpTransport(url, Host.system(), AmqpOptions(app=app, **options))


@asynccontextmanager
async def opened(*nodes: Transport) -> AsyncGenerator[None]:
    for one in nodes:
        await one.open()
    try:
        yield
    finally:
        for one in nodes:
            await one.close()


@asynccontextmanager
async def pair(url: str, **options: Any) -> AsyncGenerator[tuple[Node, Node, Things]]:  # noqa: ANN401 - as `node`
    """One that asks, one that serves, and what it serves."""
    app = next(apps)
    one, other = node(url, app, **options), node(url, app, **options)
    things = Things()
    other.listen("things", things.server)
    async with opened(other, one):
        await other.flush()
        yield one, other, things
    things.server.close()


def call(operation: str, body: bytes = b"", *, timeout: float = WAIT_SECONDS, kind: Kind = Kind.CALL) -> Message:
    return Message(kind, "1", f"things.{operation}", timeout, body=body)


def ask_of(message: Message) -> tuple[bytes, bytes]:
    """How a node asks for it, in two parts, where the message has no headers."""
    return head_of(message.kind, message.address, b""), rest_of(message)


async def echo(one: Transport, body: bytes = b"well") -> bytes:
    return (await one.request(call("echo", body))).body


async def fate(one: Transport) -> bytes:
    """What an echo comes to; empty where it comes to nothing."""
    try:
        return await echo(one)
    except (Unavailable, UnknownOperation, Overloaded):
        return b""


async def well_again(one: Node) -> None:
    """Return when calls go through."""
    async with asyncio.timeout(WAIT_SECONDS):
        await one.native.up()
        while await fate(one) != b"well":
            await one.native.up()


def cut(one: Node) -> None:
    """End the socket that a node asks through."""
    native = one.native.native
    assert native is not None
    if isinstance(native, Wires):
        native.out.abort("its cable was pulled")
    elif isinstance(native, Wire):
        native.abort("its cable was pulled")
    else:
        native.abort()


async def refused(url: str, **options: Any) -> str:  # noqa: ANN401 - as `node`
    """Why a node does not start."""
    one = node(url, **options)
    with pytest.raises(CouldNotStart) as raised:
        await one.open()
    await one.close()
    assert one.trouble()
    return raised.value.detail


async def works(url: str, **options: Any) -> None:  # noqa: ANN401 - as `node`
    """A node that serves and one that asks reach each other."""
    async with pair(url, **options) as (one, _other, _things):
        assert await echo(one) == b"well"


@contextmanager
def serving(server: ServerProcess, app: str) -> Generator[subprocess.Popen[bytes]]:
    """A process that serves `things`."""
    script = str(Path(__file__).with_name("serving.py"))
    command = [sys.executable, script, server.url, app]
    with subprocess.Popen(command, env=unmeasured(), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@asynccontextmanager
async def saying(said: bytes) -> AsyncGenerator[int]:
    """What says something to whoever comes, and nothing else; where it listens."""

    class Other(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(said)

    async with await asyncio.get_running_loop().create_server(Other, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def secured(server: ServerProcess, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """What speaks TLS before a server, which may have been built without; where it listens."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(pipe(reader, here))
            _ = group.create_task(pipe(there, writer))

    async with await asyncio.start_server(accepted, "127.0.0.1", ssl=context) as proxy:
        yield proxy.sockets[0].getsockname()[1]
