"""What stays open: WebSockets and event streams; on every engine."""

import asyncio

import h11
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hanse.control.edge_table import Pool, Server, Timeouts

from .conftest import Edge, showing
from .wire import PATIENCE, Exchange, Upstream, ask, connected, serving, until


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


def url_of(edge: Edge) -> str:
    return edge.url.replace("http", "ws", 1) + "/chat"


async def test_a_websocket_goes_on_through_changes_of_the_table(edge: Edge) -> None:
    other = Upstream("other")
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server, serving(other), asyncio.timeout(PATIENCE):
        port = server.sockets[0].getsockname()[1]
        seat = Server(id=f"{edge.service}-ws", port=port)
        _ = await edge.show(edge.table(Pool(service=edge.service, release="1", servers=(seat,))))
        async with connect(url_of(edge), max_size=None) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            _ = await edge.show_one(other)
            assert (await ask(edge.url)).body == b"other"
            for size in (1, 100_000, 4_000_000):
                await socket.send(b"x" * size)
                assert len(await socket.recv()) == size
            # It is under way at a server that the table does not know any more.
            assert (await edge.engine.figures()).in_flight[seat.id] == 1
            assert not await edge.engine.drained(seat.id, 0.01)
        assert await edge.engine.drained(seat.id, PATIENCE)
    assert (await edge.counted()).errors == 0


async def test_a_websocket_that_stays_on_a_server_can_be_cut(edge: Edge) -> None:
    async with serve(echo, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        seat = Server(id=f"{edge.service}-ws", port=server.sockets[0].getsockname()[1])
        _ = await edge.show(edge.table(Pool(service=edge.service, release="1", servers=(seat,))))
        async with connect(url_of(edge)) as socket:
            assert await edge.engine.cut(seat.id) == 1
            with pytest.raises(ConnectionClosed):
                _ = await socket.recv()


async def test_a_websocket_that_says_nothing_is_closed_at_last(edge: Edge) -> None:
    async with serve(echo, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE):
        seat = Server(id=f"{edge.service}-ws", port=server.sockets[0].getsockname()[1])
        target = edge.target(timeouts=Timeouts(tunnel=0.2))
        _ = await edge.show(edge.table(Pool(service=edge.service, release="1", servers=(seat,)), target=target))
        async with connect(url_of(edge)) as socket:
            with pytest.raises(ConnectionClosed):
                _ = await socket.recv()


async def test_a_websocket_may_be_refused(edge: Edge) -> None:
    one = Upstream("one")
    async with serving(one):
        _ = await edge.show_one(one)
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url_of(edge)):
                pass
    assert refused.value.response.status_code == 200
    assert one.asked[0].headers["upgrade"] == "websocket"


async def test_what_a_client_says_before_its_tunnel_stands_arrives(edge: Edge) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _ = await reader.readuntil(b"\r\n\r\n")
        _ = await said.wait()
        accepted = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(head + accepted + b"first ")
        heard.append(await reader.readexactly(200_000))
        writer.write(b"last")

    said, heard = asyncio.Event(), list[bytes]()
    one = Upstream("one", raw=late)
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    request += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    async with serving(one), showing(edge, one), connected(edge.url) as connection, asyncio.timeout(PATIENCE):
        connection.writer.write(request + b"x" * 100_000)
        await until(lambda: one.connections == 1)
        connection.writer.write(b"y" * 100_000)
        said.set()
        got = await connection.reader.readuntil(b"last")
    assert got.endswith(b"\r\n\r\nfirst last")
    assert heard == [b"x" * 100_000 + b"y" * 100_000]


async def test_each_event_of_a_stream_arrives_when_it_is_told(edge: Edge) -> None:
    told, heard = asyncio.Event(), asyncio.Event()

    async def streams(exchange: Exchange) -> None:
        _ = await exchange.whole()
        await exchange.send(h11.Response(status_code=200, headers=[("Content-Type", "text/event-stream")]))
        for number in range(3):
            await exchange.send(h11.Data(data=b"data: %d\n\n" % number))
            _ = await heard.wait()
            heard.clear()
        told.set()
        _ = await exchange.event()

    one = Upstream("one", streams)
    async with serving(one), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(one)
        async with connected(edge.url) as connection:
            await connection.send_head("GET", "/")
            await connection.send(h11.EndOfMessage())
            _ = await connection.head()
            for number in range(3):
                event = await connection.event()
                assert isinstance(event, h11.Data)
                assert bytes(event.data) == b"data: %d\n\n" % number
                heard.set()
            _ = await told.wait()
        # The client has left: the server hears of it, though it had nothing to say.
        assert await edge.engine.drained(edge.server(one).id, PATIENCE)
        await until(lambda: not one.open)
