"""How slowly a client of the built-in edge may send and read: with real connections, and moments that are told."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest

from hanse.control.edge_table import EdgeRoute, Pool, Server, Share, Split, Table, Target
from hanse.deploy.edge.builtin.client import KEEP_ALIVE_SECONDS, LIMITS, LINGER_SECONDS, Client
from hanse.deploy.edge.builtin.edge import Edge
from hanse.deploy.edge.builtin.reading import reading
from hanse.gateway.callers import Callers
from hanse.gateway.limits import Limits
from hanse.kernel.host import Host

HEAD = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n"


class Door:
    """An edge in this process, whose connections can be looked at."""

    def __init__(self, limits: Limits) -> None:
        self.edge = Edge(Host.system(), reading())
        self.clients: set[Client] = set()
        self._callers = Callers(limits)
        self.port = 0

    async def start(self) -> asyncio.Server:
        def client() -> Client:
            return Client(self.edge, self._callers, self.clients)

        server = await asyncio.get_running_loop().create_server(client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def look(self, seconds: float) -> None:
        """Look at all connections, so many seconds from now."""
        for client in list(self.clients):
            client.look(self.edge.loop.time() + seconds, seconds)


@asynccontextmanager
async def opened(limits: Limits = LIMITS) -> AsyncGenerator[tuple[Door, asyncio.StreamReader, asyncio.StreamWriter]]:
    """An edge, and a connection to it, before a server that takes requests and never answers."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _ = await reader.read()
        writer.close()

    upstream = await asyncio.start_server(silent, "127.0.0.1", 0)
    door = Door(limits)
    server = await door.start()
    table = Table(
        routes=(EdgeRoute(service="users"),),
        targets=(Target(service="users", split=Split(shares=(Share(release="", points=10_000),))),),
        pools=(Pool(service="users", servers=(Server(id="a", port=upstream.sockets[0].getsockname()[1]),)),),
    )
    door.edge.apply(table)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    async with asyncio.timeout(10):
        while not door.clients and limits is LIMITS:  # noqa: ASYNC110 - the loop accepts when it likes
            await asyncio.sleep(0)
    try:
        yield door, reader, writer
    finally:
        server.close()
        await door.edge.close()
        for client in list(door.clients):
            client.abort()
        await closed(writer)
        upstream.close()
        # Python 3.11 does not wait for connections here; what was aborted ends in the next turns of the loop.
        await upstream.wait_closed()
        for _ in range(5):
            await asyncio.sleep(0)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, however it ends."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the end; nothing of a connection that is reset."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def until_taken(door: Door) -> None:
    """Wait until a request is at its server."""
    async with asyncio.timeout(10):
        while not door.edge.tally.busy:  # noqa: ASYNC110 - the loop reads when it likes
            await asyncio.sleep(0.001)


async def test_a_head_that_comes_byte_by_byte_is_cut_in_time() -> None:
    async with opened() as (door, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        door.look(LIMITS.head_seconds - 0.5)
        assert len(door.clients) == 1
        door.look(LIMITS.head_seconds + 0.5)
        assert await rest(reader) == b""
        assert not door.clients


async def test_a_connection_without_requests_is_closed_at_last() -> None:
    async with opened() as (door, reader, writer):
        writer.write(b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n")
        door.edge.apply(Table())
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 503 ")
        door.look(KEEP_ALIVE_SECONDS - 1)
        assert len(door.clients) == 1
        door.look(KEEP_ALIVE_SECONDS + 1)
        assert await rest(reader) == b""


async def test_a_body_has_to_keep_a_pace() -> None:
    async with opened() as (door, reader, writer):
        writer.write(HEAD + b"x" * 480)
        await until_taken(door)
        await asyncio.sleep(0)
        door.look(LIMITS.body_grace_seconds + 480 / LIMITS.body_rate - 0.5)
        assert door.edge.exchanges
        door.look(1.0)
        got = await rest(reader)
        assert got.startswith(b"HTTP/1.1 408 ")
        assert b"of the body a second" in got
        assert not door.edge.tally.busy


async def test_a_client_that_goes_on_sending_after_its_answer_is_cut() -> None:
    async with opened() as (door, reader, writer):
        writer.write(b"nonsense\r\n\r\n")
        assert (await rest(reader)).startswith(b"HTTP/1.1 400 ")
        writer.write(b"more nonsense")
        door.look(LINGER_SECONDS + 1)
        async with asyncio.timeout(10):
            while door.clients:  # noqa: ASYNC110 - the loop closes when it likes
                await asyncio.sleep(0.001)


async def test_an_address_has_a_limit_of_connections() -> None:
    async with opened(Limits(connections_local=1)) as (door, first, writer):
        writer.write(HEAD)
        await until_taken(door)
        second, other = await asyncio.open_connection("127.0.0.1", door.port)
        assert (await rest(second)).startswith(b"HTTP/1.1 429 ")
        await closed(other)
        assert not first.at_eof()


async def test_a_request_that_waits_too_long_in_the_middle_is_broken_off() -> None:
    async with opened() as (door, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        await until_taken(door)
        async with asyncio.timeout(10):
            while door.edge.exchanges:
                for exchange in list(door.edge.exchanges):
                    exchange.look(door.edge.loop.time() + 31)
                await asyncio.sleep(0.001)
            got = await reader.readuntil(b"\r\n")
        assert got == b"HTTP/1.1 504 Gateway Timeout\r\n"


@pytest.mark.parametrize("pure", [False, True])
def test_what_reads_http_is_chosen_by_what_is_there(pure: bool) -> None:
    made = reading(pure=pure).requests()
    assert type(made).__name__ == ("H11Requests" if pure else "ToolsRequests")
