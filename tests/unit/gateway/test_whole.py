"""Answers written at once are, byte for byte, those that uvicorn writes in two; bodies are those that it gives."""

import asyncio
import logging
from typing import cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from hanse.gateway.asgi import WHOLE, Header, Receive, Request, Response, Scope, Send, answer
from hanse.gateway.whole import take_whole, write_whole


class Written(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Connection:
    """One request of a connection, and what is answered."""

    def __init__(self, method: str = "GET", *, keep_alive: bool = True) -> None:
        self.transport = Written()
        self.answered = 0
        self.scope: Scope = {"type": "http", "method": method, "path": "/", "headers": []}
        log = logging.getLogger("test")
        self.cycle = RequestResponseCycle(
            scope=self.scope,  # type: ignore[arg-type]
            transport=self.transport,
            flow=FlowControl(self.transport),
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=[(b"date", b"today")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._count,
        )

    @property
    def send(self) -> Send:
        return cast("Send", self.cycle.send)

    @property
    def receive(self) -> Receive:
        return cast("Receive", self.cycle.receive)

    def _count(self) -> None:
        self.answered += 1

    async def told(self, response: Response, *, at_once: bool) -> bytes:
        scope = {**self.scope, "extensions": {WHOLE: write_whole}} if at_once else self.scope
        await answer(Request(scope, self.receive, self.send), response)
        assert self.answered == 1
        assert self.cycle.response_complete
        return b"".join(self.transport.pieces)


def lines(answered: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = answered.partition(b"\r\n\r\n")
    return sorted(head.split(b"\r\n")), body


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize(
    "response",
    [
        Response(200, b"{}", ((b"ETag", b'"1"'),)),
        Response(201, b'{"a":1}', ((b"location", b"/a"), (b"vary", b"accept"))),
        Response(204, b"", (), ""),
        Response(304, b"", ((b"etag", b'"1"'),), ""),
        Response(503, b"x", ((b"connection", b"close"),)),
    ],
)
async def test_both_ways_say_the_same(method: str, response: Response, *, keep_alive: bool) -> None:
    one, two = Connection(method, keep_alive=keep_alive), Connection(method, keep_alive=keep_alive)
    assert lines(await one.told(response, at_once=True)) == lines(await two.told(response, at_once=False))
    assert one.transport.closed == two.transport.closed


async def test_it_is_one_write() -> None:
    connection = Connection()
    await connection.told(Response(200, b"{}"), at_once=True)
    assert len(connection.transport.pieces) == 1


@pytest.mark.parametrize(
    "header",
    [
        (b"x-name", b"a\r\nset-cookie: b"),
        (b"x-name", b"a\nb"),
        (b"x-name", b"a\x00"),
        (b"x: y", b"z"),
        (b"x\r\ny", b""),
    ],
)
async def test_a_header_that_is_more_than_one_is_never_written(header: Header) -> None:
    connection = Connection()
    assert not write_whole(connection.send, 200, [header], b"")
    assert connection.transport.pieces == []
    with pytest.raises(RuntimeError, match="Invalid HTTP header"):
        await connection.told(Response(200, b"", (header,)), at_once=True)


async def test_a_body_where_none_may_be_is_not_written() -> None:
    connection = Connection()
    assert not write_whole(connection.send, 204, [], b"x")
    assert connection.transport.pieces == []


async def test_nobody_is_passed_over() -> None:
    connection = Connection()

    async def wrapped(event: object) -> None:
        raise NotImplementedError(event)

    assert not write_whole(wrapped, 200, [], b"")
    connection.cycle.response_started = True
    assert not write_whole(connection.send, 200, [], b"")
    assert connection.transport.pieces == []


async def test_a_client_that_takes_nothing_is_waited_for() -> None:
    connection = Connection()
    connection.cycle.flow.pause_writing()
    assert not write_whole(connection.send, 200, [], b"")
    assert connection.transport.pieces == []


@pytest.mark.parametrize("pieces", [[b""], [b"{}"], [b"{", b"}"]])
async def test_a_body_that_has_come_is_taken_as_it_would_be_received(pieces: list[bytes]) -> None:
    connection = Connection("POST")
    for piece in pieces:
        connection.cycle.body += piece
    assert take_whole(connection.receive) is None  # more may come
    connection.cycle.more_body = False
    connection.cycle.message_event.set()
    assert take_whole(connection.receive) == b"".join(pieces)
    async with asyncio.TaskGroup() as group:
        left = group.create_task(connection.cycle.receive())
        await asyncio.sleep(0)
        assert not left.done()
        connection.cycle.disconnected = True
        connection.cycle.message_event.set()
    assert left.result()["type"] == "http.disconnect"


async def test_a_body_that_its_client_wants_to_be_asked_for_is_received() -> None:
    connection = Connection("POST")
    connection.cycle.more_body = False
    connection.cycle.waiting_for_100_continue = True
    assert take_whole(connection.receive) is None


async def test_who_has_left_has_no_body() -> None:
    connection = Connection("POST")
    connection.cycle.more_body = False
    connection.cycle.disconnected = True
    assert take_whole(connection.receive) is None
