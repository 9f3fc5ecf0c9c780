"""Clients that speak HTTP/1.0, on raw sockets: they know no chunks, and read a body until the connection ends."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from hanse.gateway.gateway import Gateway
from hanse.node.app import App

# What the fixtures give is defined in conftest.py, which cannot be imported.
Serve = Any
Served = Any


async def answered(served: Served, request: bytes, *, until: bytes = b"") -> tuple[str, bytes]:
    """Head, in lower case, and body of the answer to bytes: all of it, or as far as something that is waited for."""
    line = await served.connect()
    line.writer.write(request)
    came = b""
    async with asyncio.timeout(10):
        while not until or until not in came:
            piece = await line.reader.read(65536)
            if not piece:
                break
            came += piece
    line.writer.close()
    head, _, body = came.partition(b"\r\n\r\n")
    return head.decode().lower(), body


@pytest.mark.parametrize("keep", [b"", b"connection: keep-alive\r\n"])
async def test_a_stream_of_lines_ends_with_its_connection(served: Served, keep: bytes) -> None:
    head, body = await answered(served, b"GET /numbers/3 HTTP/1.0\r\n" + keep + b"\r\n")

    assert body == b"0\n1\n2\n"
    assert "transfer-encoding" not in head
    assert "connection: close" in head


async def test_events_are_told_as_they_are(served: Served) -> None:
    assert (await served.ask("POST", "/things", {"name": "tea", "id": "1"})).status == 201
    request = b"GET /things HTTP/1.0\r\naccept: text/event-stream\r\n\r\n"
    head, body = await answered(served, request, until=b"event: ready")

    assert "transfer-encoding" not in head
    assert body.startswith((b"retry:", b"event:", b":", b"id:"))


async def test_answers_of_known_length_say_it(served: Served) -> None:
    head, body = await answered(served, b"GET /livez HTTP/1.0\r\n\r\n")
    assert ("content-length: 15" in head, body) == (True, b'{"status":"ok"}')
    head, body = await answered(served, b"HEAD /numbers/3 HTTP/1.0\r\n\r\n")
    assert ("transfer-encoding" in head, body) == (False, b"")


async def test_what_an_application_frames_itself_is_not_framed_for_them(serve: Serve, things: Any) -> None:  # noqa: ANN401
    async def chunked(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        del receive
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"transfer-encoding", b"chunked")]})
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    gateway = Gateway().mount("/old", chunked)
    async with serve(gateway=gateway, app=App("things", things, gateway=gateway)) as served:
        head, body = await answered(served, b"GET /old/x HTTP/1.0\r\n\r\n")
        assert ("transfer-encoding" in head, body) == (False, b"onetwo")
        line = await served.connect()
        assert (await line.ask("GET", "/old/x")).body == b"onetwo"


async def test_a_stream_that_breaks_is_cut(serve: Serve, things: Any) -> None:  # noqa: ANN401
    async def broken(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        del receive
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise ZeroDivisionError

    gateway = Gateway().mount("/old", broken)
    async with serve(gateway=gateway, app=App("things", things, gateway=gateway)) as served:
        with suppress(ConnectionError):
            assert (await answered(served, b"GET /old/x HTTP/1.0\r\n\r\n"))[1] in {b"one", b""}
        assert (await served.ask("GET", "/livez")).status == 200
