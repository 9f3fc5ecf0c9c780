"""What hostile tests share: an app with every kind of type, served on a real socket in this process."""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID  # noqa: TID251 - a type, not a draw

import msgspec
import pytest
from msgspec import Meta

from hanse.contract.declare import rpc
from hanse.contract.model import Model, Resource
from hanse.gateway.gateway import Gateway
from hanse.gateway.limits import Limits
from hanse.gateway.listen import bound
from hanse.gateway.paced_h11 import PacedH11
from hanse.gateway.paced_httptools import PacedHttpTools
from hanse.gateway.serve import _Server
from hanse.kernel.settings import Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.service import Service

Value = Any

Half = Annotated[int, Meta(ge=-(2**62), le=2**62)]
"""Two of them add up to what travels: whole numbers have 64 bits, and an answer that has more is its handler's bug."""


class Part(Model):
    name: str
    weight: float | None = None


class Thing(Resource):
    """A row with every kind of field."""

    name: str
    count: int = 0
    share: float = 0.0
    price: Decimal = Decimal(0)
    open: bool = True
    kind: Literal["a", "b"] = "a"
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    hour: time = time(12, 0)
    lasts: timedelta = timedelta(seconds=1)
    uuid: UUID | None = None
    blob: bytes = b""
    note: str | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    part: Part | None = None
    parts: list[Part] = msgspec.field(default_factory=list)
    either: int | str = 0
    rank: Annotated[int, Meta(ge=0, le=10)] = 0


class Things(Service):
    """Operations that take every kind of type."""

    things: Collection[Thing]

    @rpc
    async def echo(self, thing: Thing) -> Thing:
        return thing

    @rpc
    async def add(self, left: Half, right: Half = 1) -> int:
        return left + right

    @rpc
    async def price(self, amount: Decimal, by: Decimal = Decimal(1)) -> Decimal:
        return max(amount, by)

    @rpc
    async def later(self, at: datetime, lasts: timedelta) -> list[str]:
        return [at.isoformat(), str(lasts)]

    @rpc
    async def anything(self, value: object) -> object:
        return value

    @rpc(route="GET /parts/{name}")
    async def part(self, name: str, weight: float = 0.0, tags: list[str] = []) -> Part:  # noqa: B006
        return Part(name=name, weight=weight + len(tags))

    @rpc(route="GET /numbers/{upto}")
    async def numbers(self, upto: Annotated[int, Meta(ge=0, le=10)]) -> AsyncIterator[int]:
        for number in range(upto):
            yield number

    @rpc
    async def nap(self, seconds: Annotated[float, Meta(ge=0, le=1)]) -> str:
        await asyncio.sleep(seconds)
        return "rested"


@dataclass
class Answer:
    """What came back; status 0 where the server closed without a word."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Value:
        return msgspec.json.decode(self.body)


class Line:
    """One connection, speaking as much HTTP as is needed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> Answer:
        try:
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer(0)
        pairs = [line.split(": ", 1) for line in lines if line]
        return Answer(int(status.split()[1]), {name.lower(): value for name, value in pairs})

    async def answer(self, method: str = "GET") -> Answer:
        answer = await self.head()
        if method != "HEAD":
            if answer.headers.get("transfer-encoding") == "chunked":
                answer.body = await self.chunks()
            else:
                answer.body = await self.reader.readexactly(int(answer.headers.get("content-length", "0")))
        return answer

    async def chunks(self) -> bytes:
        parts: list[bytes] = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readexactly(2)
        return b"".join(parts)

    async def ask(self, method: str, path: str, value: Value = None, **headers: str) -> Answer:
        body = b"" if value is None else value if isinstance(value, bytes) else msgspec.json.encode(value)
        lines = {"host": "test", "content-type": "application/json", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): text for name, text in headers.items()}
        head = "".join(f"{name}: {text}\r\n" for name, text in lines.items() if text)
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        return await self.answer(method)

    async def closed(self) -> bool:
        """Wait until the server has closed."""
        with suppress(ConnectionError):
            while await self.reader.read(2**16):
                pass
        return True


class Served:
    """A gateway on a real socket."""

    def __init__(self, node: Node, entry: Value, server: _Server, port: int) -> None:
        self.node = node
        self.entry = entry
        self.server = server
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Line:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self._writers.append(writer)
        return Line(reader, writer)

    async def raw(self, data: bytes) -> Answer:
        """The answer to bytes, in a connection of its own."""
        line = await self.connect()
        line.writer.write(data)
        async with asyncio.timeout(10):
            answer = await line.answer()
        line.writer.close()
        return answer

    async def ask(self, method: str, path: str, value: Value = None, **headers: str) -> Answer:
        line = await self.connect()
        async with asyncio.timeout(10):
            answer = await line.ask(method, path, value, **headers)
        line.writer.close()
        return answer

    def until(self, holds: Callable[[], bool], *, tries: int = 200) -> None:
        """Wait, in another thread than the server's, until something holds, or long enough."""
        event = threading.Event()
        while tries and not holds():
            tries -= 1
            event.wait(0.05)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serving(
    parser: type[asyncio.Protocol],
    gateway: Gateway | None = None,
    limits: Limits | None = None,
    app: App | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Served]:
    """Serve in this process, on a free port."""
    if gateway is None:
        gateway = Gateway(limits=limits or Limits()).rpc(Things).resources(Thing)
    app = app or App("things", Things, gateway=gateway)
    async with Node(app, settings or Settings()) as node:
        with bound("127.0.0.1", 0) as listener:
            entry = gateway.asgi(node)
            server = _Server(entry, gateway.limits, 1.0)
            server.config.http = parser
            port = listener.getsockname()[1]
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]))
                await server.listening.wait()
                served = Served(node, entry, server, port)
                try:
                    yield served
                finally:
                    served.hang_up()
                    await gateway.drain()
                    server.should_exit = True


@pytest.fixture(params=[PacedHttpTools, PacedH11], ids=["httptools", "h11"])
def parser(request: pytest.FixtureRequest) -> type[asyncio.Protocol]:
    """Both ways to read HTTP."""
    parser: type[asyncio.Protocol] = request.param
    return parser


@pytest.fixture
def serve(parser: type[asyncio.Protocol]) -> Serve:
    """Serves a gateway, by default of everything, as a context manager."""
    return lambda **given: serving(parser, **given)


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    """Everything, served."""
    async with serve() as served:
        yield served


@pytest.fixture
def things() -> type[Things]:
    return Things


@pytest.fixture
def thing() -> type[Thing]:
    return Thing


@contextmanager
def aside(parser: type[asyncio.Protocol] = PacedHttpTools, **given: Value) -> Iterator[Served]:
    """Serve in a thread of its own, for clients that block."""
    started: queue.Queue[tuple[Served, asyncio.AbstractEventLoop, asyncio.Event] | BaseException] = queue.Queue()

    async def main() -> None:
        try:
            async with serving(parser, **given) as served:
                end = asyncio.Event()
                started.put((served, asyncio.get_running_loop(), end))
                await end.wait()
        except BaseException as error:
            started.put(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    came = started.get(timeout=30)
    if isinstance(came, BaseException):
        raise came
    served, loop, end = came
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(30)


@pytest.fixture
def serve_aside() -> Callable[..., AbstractContextManager[Served]]:
    return aside


@pytest.fixture
def times() -> int:
    """How many times as long as usual to look: `make fuzz` looks longer."""
    return int(os.environ.get("HANSE_FUZZ_TIMES", "1"))
