"""HTTP/1.1 as tests speak it, on both sides of an edge: by h11, which no engine is made of, and by plain bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sized
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11

from hanse.kernel.tasks import Tasks

PATIENCE = 60.0
"""Seconds after which a test that waits has failed."""

Headers = Iterable[tuple[str, str]]


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict[str, str])
    interim: list[int] = field(default_factory=list[int])
    cookies: dict[str, str] = field(default_factory=dict[str, str])


class Connection:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, target: str, *, headers: Headers = (), body: bytes = b"") -> Answer:
        """One request and its whole answer; the connection may be used again."""
        more = [*headers, *([("Content-Length", str(len(body)))] if body else [])]
        await self.send_head(method, target, more)
        if body:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())
        return await self.answer()

    async def send_head(self, method: str, target: str, headers: Headers = ()) -> None:
        given = list(headers)
        host = [] if any(name.lower() == "host" for name, _ in given) else [("Host", "edge.test")]
        await self.send(h11.Request(method=method, target=target, headers=[*host, *given]))

    async def send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            self._http.receive_data(await self.reader.read(65536))

    async def answer(self) -> Answer:
        """The next answer, whole."""
        async with asyncio.timeout(PATIENCE):
            answer = await self.head()
            while True:
                match await self.event():
                    case h11.Data(data=data):
                        answer.body += bytes(data)
                    case h11.EndOfMessage(headers=trailers):
                        answer.trailers = {name.decode(): value.decode() for name, value in trailers}
                        break
                    case other:
                        raise AssertionError(other)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return answer

    async def head(self) -> Answer:
        """The head of the next answer; bodies of streams are then read by `event`."""
        interim: list[int] = []
        while True:
            match await self.event():
                case h11.InformationalResponse(status_code=status, headers=raw) if status != 101:
                    interim.append(status)
                case (
                    h11.Response(status_code=status, headers=raw)
                    | h11.InformationalResponse(status_code=status, headers=raw)
                ):
                    pairs = [(name.decode(), value.decode()) for name, value in raw]
                    set_cookies = [
                        text.partition(";")[0].partition("=") for name, text in pairs if name == "set-cookie"
                    ]
                    cookies = {name: value for name, _, value in set_cookies}
                    return Answer(status, dict(pairs), interim=interim, cookies=cookies)
                case other:
                    raise AssertionError(other)

    @property
    def buffered(self) -> bytes:
        """What came behind the last answer."""
        return self._http.trailing_data[0]


GONE = (OSError, h11.RemoteProtocolError)
"""What whoever asks meets where a door goes away: it is refused, or reset, or the connection ends without an answer."""


@asynccontextmanager
async def connected(url: str, limit: int = 65536, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Connection]:
    """A connection to the edge."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=limit, ssl=tls)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - other processes bring it about
            await asyncio.sleep(0.002)


async def grows(items: Sized, by: int) -> None:
    """Wait until there are so many more."""
    size = len(items) + by
    await until(lambda: len(items) >= size)


async def ask(url: str, method: str = "GET", target: str = "/", *, headers: Headers = (), body: bytes = b"") -> Answer:
    """One request over a connection of its own."""
    async with connected(url) as connection:
        return await connection.ask(method, target, headers=headers, body=body)


async def said(url: str, request: bytes, *, eof: bool = False) -> bytes:
    """All that comes back for some bytes, until the other side closes."""
    async with connected(url) as connection, asyncio.timeout(PATIENCE):
        connection.writer.write(request)
        if eof:
            connection.writer.write_eof()
        got = b""
        with suppress(ConnectionError):
            while data := await connection.reader.read(65536):
                got += data
        return got


@dataclass
class Request:
    """What a server got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict[str, str])


class Exchange:
    """A request as a server of a test handles it."""

    def __init__(self, server: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.http = h11.Connection(h11.SERVER)
        self.reader = reader
        self.writer = writer
        self.request = Request("", "", {})

    async def event(self) -> h11.Event:
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Event):
                return event
            self.http.receive_data(await self.reader.read(65536))

    async def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def whole(self) -> Request:
        """The request with its body."""
        while True:
            match await self.event():
                case h11.Data(data=data):
                    self.request.body += bytes(data)
                case h11.EndOfMessage(headers=trailers):
                    self.request.trailers = {name.decode(): value.decode() for name, value in trailers}
                    return self.request
                case other:
                    raise ConnectionError(other)

    async def answer(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        length = [("Content-Length", str(len(body)))]
        await self.send(h11.Response(status_code=status, headers=[*length, *headers]))
        if body and self.request.method != "HEAD":
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())


Handler = Callable[[Exchange], Awaitable[None]]
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def named(exchange: Exchange) -> None:
    """Answer with the name of the server."""
    _ = await exchange.whole()
    await exchange.answer(200, exchange.server.name.encode())


TURNS = 8
"""Of the loop, in which whatever was broken off is gone."""


class Upstream:
    """A server of a test, that notes all it was asked."""

    def __init__(self, name: str, handler: Handler = named, raw: Raw | None = None) -> None:
        self.name = name
        self.handler = handler
        self.raw = raw
        self.port = 0
        self.asked: list[Request] = []
        self.connections = 0
        self.gone = asyncio.Event()
        """Set when a connection was lost in the middle of a request."""
        self.open: set[asyncio.StreamWriter] = set()
        self._socket: socket.socket | None = None
        self._tasks = Tasks(lambda _: None)
        self._taken: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=100)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._take, self._socket)

    async def kill(self) -> None:
        """Be gone at once, as a process that is killed: nobody listens, and all connections are reset."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        _ = await asyncio.gather(*self._taken)
        for writer in list(self.open):
            writer.transport.abort()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def _take(self, listening: socket.socket) -> None:
        """Take a connection; not by asyncio's own server, which forgets one that it took as it was closed."""
        with suppress(BlockingIOError):
            connection, _ = listening.accept()
            connection.setblocking(False)
            # Asyncio does so only for sockets that were made for TCP by number. A body that comes after its head would
            # wait for 40 ms, until the other side has acknowledged the head.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader, self._accept)
            taking = asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
            task = self._tasks.start(taking)
            self._taken.add(task)
            task.add_done_callback(self._taken.discard)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Coroutine[Any, Any, None]:
        self.connections += 1
        self.open.add(writer)
        return self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.raw is not None:
                await self.raw(reader, writer)
            else:
                await self._requests(reader, writer)
        except (ConnectionError, h11.ProtocolError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open.discard(writer)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(self, reader, writer)
        http = exchange.http
        while True:
            event = await exchange.event()
            if not isinstance(event, h11.Request):
                return
            headers = {name.decode(): value.decode() for name, value in event.headers}
            exchange.request = Request(event.method.decode(), event.target.decode(), headers)
            self.asked.append(exchange.request)
            await self.handler(exchange)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()


@asynccontextmanager
async def serving(*servers: Upstream) -> AsyncGenerator[None]:
    """Servers that answer for as long as a test lasts."""
    for server in servers:
        await server.start()
    try:
        yield
    finally:
        for server in servers:
            await server.kill()
