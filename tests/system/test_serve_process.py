"""A served app, as a process of its own: streams, drains, kills, slow and hostile clients."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

PROGRAM = """
import asyncio, sys

missing, store, drain_delay = sys.argv[1].split(","), sys.argv[2], float(sys.argv[3])
sys.modules.update(dict.fromkeys(filter(None, missing)))

from hanse.contract.declare import rpc
from hanse.contract.model import Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.gateway.serve import loop_factory, serve
from hanse.kernel.settings import GatewaySettings, NodeSettings, Settings
from hanse.node.app import App
from hanse.service.collection import Collection
from hanse.service.service import Service

class Order(Resource):
    sku: str
    note: str = ""

class Shop(Service):
    orders: Collection[Order]

    @rpc(timeout="60s")
    async def nap(self, seconds: float) -> str:
        print("napping", flush=True)
        await asyncio.sleep(seconds)
        return "rested"

limits = Limits(stalled_seconds=0.5, head_seconds=0.5, garbage=3)
gateway = Gateway(limits=limits).resources(Order).rpc(Shop)
node = NodeSettings(store=store, drain_delay=drain_delay, grace=10)
settings = Settings(gateway=GatewaySettings(port=0), node=node)
with asyncio.Runner(loop_factory=loop_factory()) as runner:
    announce = lambda url: print(url, flush=True)
    sys.exit(runner.run(serve(App("shop", Shop, gateway=gateway), settings, announce=announce)))
"""


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return msgspec.json.decode(self.body)


class Connection:
    """One connection to the server, speaking just enough HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.events: list[str] = []

    async def send(self, method: str, path: str, value: object = None, **headers: str) -> None:
        body = b"" if value is None else msgspec.json.encode(value)
        lines = {"host": "test", "content-type": "application/json", "content-length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in lines.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await self.writer.drain()

    async def head(self) -> Answer:
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        return Answer(int(status.split()[1]), headers)

    async def answer(self) -> Answer:
        answer = await self.head()
        answer.body = await self.reader.readexactly(int(answer.headers.get("content-length", "0")))
        return answer

    async def ask(self, method: str, path: str, value: object = None, **headers: str) -> Answer:
        await self.send(method, path, value, **headers)
        return await self.answer()

    async def event(self) -> dict[str, Any]:
        """The next event of an event stream, of which several may come together."""
        while True:
            while not self.events:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                self.events += (await self.reader.readexactly(size + 2))[:-2].decode().split("\n\n")
            fields = dict(line.split(": ", 1) for line in self.events.pop(0).splitlines() if ": " in line)
            if "data" in fields:
                return {**fields, "data": msgspec.json.decode(fields["data"])}

    async def rest(self) -> bytes:
        """What still comes until the server closes, in order or not."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b"reset"


class Server:
    """A served shop."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.signalled = False
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    async def start(cls, *, store: str = "memory:", missing: str = "", drain_delay: float = 0.0) -> Self:
        command = (sys.executable, "-c", PROGRAM, missing, store, str(drain_delay))
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        return cls(process, int(url.rpartition(":")[2]))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
        forced = self.signalled
        self.signal(signal.SIGTERM)
        told = (await self.process.communicate())[1].decode()
        assert forced or told == ""

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self._writers.append(writer)
        return Connection(reader, writer)

    async def ask(self, method: str, path: str, value: object = None, **headers: str) -> Answer:
        return await (await self.connect()).ask(method, path, value, **headers)

    async def follow(self, path: str = "/orders", **headers: str) -> Connection:
        connection = await self.connect()
        await connection.send("GET", path, accept="text/event-stream", **headers)
        assert (await connection.head()).status == 200
        return connection

    async def nap(self, seconds: float) -> Connection:
        """A call that is under way."""
        connection = await self.connect()
        await connection.send("POST", "/rpc/shop/nap", {"seconds": seconds})
        assert self.process.stdout is not None
        assert await self.process.stdout.readline() == b"napping\n"
        return connection

    def signal(self, number: int) -> None:
        self.signalled = True
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    @property
    def live(self) -> str:
        return f"ws://127.0.0.1:{self.port}/live"


@pytest.fixture(params=["", "httptools,uvloop"], ids=["standard", "bare"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """With the extra packages, and without."""
    async with await Server.start(missing=request.param) as server:
        yield server


async def closed_by(talk: ClientConnection) -> int:
    """The code that the server closes a socket with, after whatever it has still to say."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in talk:
            pass
    return talk.close_code or 0


def filler(number: int) -> dict[str, str]:
    return {"id": str(number), "sku": "tea", "note": "x" * 50_000}


async def until_resumed(connection: Connection, name: str) -> dict[str, Any]:
    while (event := await connection.event())["event"] != name:
        pass
    return event


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_with_streams_connected_and_work_in_flight(server: Server, number: int) -> None:
    stream = await server.follow()
    await until_resumed(stream, "ready")
    call = await server.nap(0.5)
    idle = await server.connect()
    async with connect(server.live) as talk:
        server.signal(number)
        assert await closed_by(talk) == 1012

    assert b"retry: 1000" in await stream.rest()
    assert (await call.answer()).json == "rested"
    assert await idle.rest() == b""
    assert await server.process.wait() == 0


async def test_a_draining_server_is_not_ready_but_serves() -> None:
    async with await Server.start(drain_delay=30) as server:
        assert (await server.ask("GET", "/readyz")).status == 200
        server.signal(signal.SIGTERM)
        while (ready := await server.ask("GET", "/readyz")).status == 200:
            pass
        served = await server.ask("GET", "/orders")

        assert ready.json == {"status": "draining"}
        assert (served.status, served.headers["connection"]) == (200, "close")


async def test_a_drain_under_load_fails_no_request() -> None:
    async def client(server: Server) -> list[int]:
        connection, statuses = await server.connect(), []
        while True:
            answer = await connection.ask("POST", "/orders", {"sku": "tea"})
            statuses.append(answer.status)
            if len(statuses) == 20 and not server.signalled:
                server.signal(signal.SIGTERM)
            if answer.headers.get("connection") == "close":
                return statuses

    async with await Server.start(drain_delay=0.5) as server:
        statuses = [status for one in await asyncio.gather(*(client(server) for _ in range(8))) for status in one]

        assert set(statuses) == {201}
        assert await server.process.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_forces(number: int, code: int) -> None:
    async with await Server.start() as server:
        await server.nap(60)
        stream = await server.follow()
        server.signal(signal.SIGTERM)
        await stream.rest()
        server.signal(number)

        assert await server.process.wait() == code


async def test_a_stream_resumes_over_a_crash(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/shop.db"
    async with await Server.start(store=store) as first:
        stream = await first.follow()
        await until_resumed(stream, "ready")
        await first.ask("PUT", "/orders/1", {"sku": "tea"})
        seen = await stream.event()
        await first.ask("PATCH", "/orders/1", {"note": "unseen"})
        first.signal(signal.SIGKILL)
    async with await Server.start(store=store) as second:
        await second.ask("PATCH", "/orders/1", {"note": "later"})
        again = await second.follow(last_event_id=seen["id"])
        notes = [(await again.event())["data"]["value"]["note"] for _ in range(2)]

    assert notes == ["unseen", "later"]


async def test_a_client_that_does_not_read_its_stream_costs_nobody_else(server: Server) -> None:
    lazy = await server.follow("/orders?snapshot=false")
    lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    keen = await server.follow("/orders?snapshot=false")
    await until_resumed(keen, "ready")
    writer = await server.connect()
    for number in range(200):
        await writer.ask("POST", "/orders", filler(number))
        await keen.event()
    await gone(server, lazy.writer.transport)

    lazy.writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert not (await lazy.rest()).endswith(b"0\r\n\r\n")


async def test_answers_that_are_not_read_are_cut(server: Server) -> None:
    writer = await server.connect()
    for number in range(100):
        await writer.ask("POST", "/orders", filler(number))
    lazy = await server.connect()
    lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(3):
        await lazy.send("GET", "/orders?limit=100")
    await gone(server, lazy.writer.transport)


async def gone(server: Server, transport: asyncio.BaseTransport) -> None:
    """Wait until the server has let go of a connection, as the kernel knows it; it serves others meanwhile."""
    client = transport.get_extra_info("sockname")[1]
    established = f":{server.port:04X} 0100007F:{client:04X} 01"
    while established in (await asyncio.to_thread(Path("/proc/net/tcp").read_text)):
        assert (await server.ask("GET", "/orders?limit=1")).status == 200


async def test_a_socket_that_is_not_read_is_cut(server: Server) -> None:
    async with connect(server.live, max_queue=1) as lazy:
        await lazy.send('{"op": "subscribe", "id": 1, "collection": "orders"}')
        lazy.transport.pause_reading()
        writer = await server.connect()
        for number in range(200):
            await writer.ask("POST", "/orders", filler(number))
        await gone(server, lazy.transport)
        lazy.transport.resume_reading()
        await closed_by(lazy)


async def test_a_socket_talks(server: Server) -> None:
    async with connect(server.live) as talk:
        await talk.send('{"op": "subscribe", "id": 1, "collection": "orders", "snapshot": false}')
        ready = msgspec.json.decode(await talk.recv())
        await talk.send('{"op": "create", "id": 2, "collection": "orders", "value": {"sku": "tea"}}')
        answers = [msgspec.json.decode(await talk.recv()) for _ in range(2)]

    assert ready["event"] == "ready"
    assert {answer["id"] for answer in answers} == {1, 2}


async def test_a_socket_that_sends_garbage_is_closed(server: Server) -> None:
    async with connect(server.live) as talk:
        for _ in range(3):
            await talk.send("{")
        assert await closed_by(talk) == 1007


async def test_a_message_over_the_limit_closes_the_socket(server: Server) -> None:
    async with connect(server.live) as talk:
        await talk.send("x" * 300_000)
        assert await closed_by(talk) == 1009


async def test_a_handshake_elsewhere_is_refused(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(server.live.replace("/live", "/nothing"))

    assert refused.value.response.status_code == 404


async def test_without_its_package_websocket_says_how_to_get_it() -> None:
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "a"}
    async with await Server.start(missing="websockets,wsproto") as server:
        answer = await server.ask("GET", "/live", **upgrade)

    assert answer.status == 501
    assert "pip install 'hanse[standard]'" in answer.json["detail"]


async def test_a_head_without_end_is_refused(server: Server) -> None:
    connection = await server.connect()
    connection.writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nx-endless: " + b"x" * 40_000)

    assert (await connection.rest())[:12] in {b"HTTP/1.1 431", b"HTTP/1.1 400"}


@pytest.mark.parametrize("head", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: te"])
async def test_a_head_that_does_not_come_is_given_up(server: Server, head: bytes) -> None:
    connection = await server.connect()
    connection.writer.write(head)

    assert await connection.rest() in {b"", b"reset"}


async def test_a_body_over_the_limit_is_refused_while_it_comes(server: Server) -> None:
    connection = await server.connect()
    head = (
        b"POST /orders HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    connection.writer.write(head + b"80000\r\n" + b"x" * 0x80000 + b"\r\n80001\r\n" + b"x" * 0x80001 + b"\r\n")

    assert (await connection.answer()).status == 413


async def test_one_connection_serves_many_requests(server: Server) -> None:
    connection = await server.connect()
    await connection.send("POST", "/orders", {"sku": "tea", "id": "1"})
    await connection.send("GET", "/orders/1")

    assert [(await connection.answer()).status for _ in range(2)] == [201, 200]
    assert (await connection.ask("GET", "/orders/1")).json["sku"] == "tea"


async def test_a_taken_port_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        program = PROGRAM.replace("port=0", f"port={port}")
        command = (sys.executable, "-c", program, "", "memory:", "0")
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, told = await process.communicate()

    assert f"cannot listen on http://127.0.0.1:{port}: Address already in use".encode() in told
