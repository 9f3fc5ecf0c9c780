"""A thousand clients of one process: all are told, the slow cost the others nothing, and a drain ends them in time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import msgspec
import pytest

PROGRAM = """
import asyncio, sys

sys.modules.update(dict.fromkeys(filter(None, sys.argv[1].split(","))))

from hanse import App, Collection, Gateway, Resource, Service
from hanse.gateway.limits import Limits
from hanse.gateway.serve import loop_factory, serve
from hanse.kernel.settings import GatewaySettings, NodeSettings, Settings

class Order(Resource):
    note: str

class Shop(Service):
    orders: Collection[Order]

limits = Limits(LIMITS)
gateway = Gateway(limits=limits).resources(Order).rpc(Shop)
settings = Settings(gateway=GatewaySettings(port=0), node=NodeSettings(grace=10))
with asyncio.Runner(loop_factory=loop_factory()) as runner:
    announce = lambda url: print(url, flush=True)
    sys.exit(runner.run(serve(App("shop", Shop, gateway=gateway), settings, announce=announce)))
"""

CROWD = 500
HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SUBSCRIBE = b'{"op":"subscribe","id":1,"collection":"orders"}'
STREAM = b"GET /orders HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"


class Client(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.came = b""
        self.lost = False
        self.transport: asyncio.Transport
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._news.set()

    async def until(self, sign: bytes) -> None:
        while sign not in self.came:
            assert not self.lost, self.came[-300:]
            self._news.clear()
            _ = await self._news.wait()

    async def end(self, sign: bytes = b"\xff" * 9) -> bytes:
        """All that came until the server closed the connection, or said so."""
        while not self.lost and sign not in self.came:
            self._news.clear()
            _ = await self._news.wait()
        return self.came


class Server:
    """A served shop."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self._clients: list[Client] = []

    @classmethod
    async def start(cls, missing: str = "", limits: str = "") -> Self:
        command = (sys.executable, "-c", PROGRAM.replace("LIMITS", limits), missing)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        return cls(process, int((await process.stdout.readline()).decode().strip().rpartition(":")[2]))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.transport.abort()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        assert (await self.process.communicate())[1] == b""

    async def client(self) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self.port)
        self._clients.append(client)
        return client

    async def stream(self, headers: bytes = b"") -> Client:
        client = await self.client()
        client.transport.write(STREAM[:-2] + headers + b"\r\n")
        await client.until(b"\r\n\r\n")
        return client

    async def socket(self, message: bytes = SUBSCRIBE) -> Client:
        client = await self.client()
        client.transport.write(HANDSHAKE)
        await client.until(b"\r\n\r\n")
        client.transport.write(framed(message))
        return client

    async def write(self, writer: Client, id: str, note: str = "") -> None:
        body = msgspec.json.encode({"note": note})
        head = f"PUT /orders/{id} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        writer.came = b""
        writer.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.until(b"HTTP/1.1 201")

    def rss_mb(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def framed(message: bytes) -> bytes:
    assert len(message) < 126
    return bytes([0x81, 0x80 | len(message)]) + bytes(4) + message


@pytest.fixture(params=["", "httptools,uvloop"], ids=["standard", "bare"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """With the extra packages, and without."""
    async with await Server.start(request.param) as server:
        yield server


async def test_a_crowd_is_told_and_a_drain_tells_all_to_come_back(server: Server) -> None:
    clients = [await server.stream() for _ in range(CROWD)] + [await server.socket() for _ in range(CROWD)]
    await asyncio.gather(*(client.until(b"ready") for client in clients))
    await server.write(await server.client(), "one")
    await asyncio.gather(*(client.until(b'"key":"one"') for client in clients))
    lazy = clients[:10] + clients[-10:]
    for client in lazy:
        client.transport.pause_reading()
    server.process.send_signal(signal.SIGTERM)
    ends = await asyncio.gather(*(client.end() for client in clients if client not in lazy))

    assert sum(end.endswith(b"retry: 1000\n\n\r\n0\r\n\r\n") for end in ends) == CROWD - 10
    assert sum(b"\x03\xf4the server is stopping" in end for end in ends) == CROWD - 10
    for client in lazy:
        client.transport.resume_reading()
    async with asyncio.timeout(10):
        assert await server.process.wait() == 0


async def test_who_reads_nothing_is_cut_and_memory_stays_flat(server: Server) -> None:
    lazy = [await server.stream() for _ in range(20)] + [await server.socket() for _ in range(20)]
    await asyncio.gather(*(client.until(b"ready") for client in lazy))
    for client in lazy:
        client.transport.pause_reading()
    keen, writer = await server.socket(), await server.client()
    await keen.until(b"ready")
    before = server.rss_mb()
    for number in range(400):
        keen.came = b""
        await server.write(writer, f"{number}", "x" * 20_000)
        await keen.until(b'"cursor"')
    grown = server.rss_mb() - before
    for client in lazy:
        client.transport.resume_reading()
    ends = await asyncio.gather(*(client.end(b"\x03\xf5too much") for client in lazy))

    # Each of forty was to be told 8 MB; that of the kernel's buffers is what they may hold.
    assert not any(b'"key":"399"' in end for end in ends)
    assert grown < 100
    assert not keen.lost


async def test_a_quiet_socket_is_pinged_and_cut_when_it_does_not_answer() -> None:
    async with await Server.start(limits="heartbeat_seconds=0.5, stalled_seconds=0.5") as server:
        silent, lively = await server.socket(), await server.socket()
        ending = asyncio.gather(silent.end())
        while not ending.done():
            lively.came = b""
            await lively.until(b"\x89\x00")
            lively.transport.write(b"\x8a\x80" + bytes(4))

        assert b"\x89\x00" in silent.came
        assert not lively.lost


async def test_a_quiet_stream_beats_for_all() -> None:
    async with await Server.start(limits="heartbeat_seconds=1.0") as server:
        clients = [await server.stream() for _ in range(50)]

        await asyncio.gather(*(client.until(b"\r\n3\r\n:\n\n\r\n") for client in clients))
