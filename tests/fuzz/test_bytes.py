"""Bytes over real sockets: heads, bodies and frames that are almost right. The server answers, or closes, and lives."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from hanse.gateway.limits import Limits
from hanse.gateway.paced_h11 import PacedH11
from hanse.gateway.paced_httptools import PacedHttpTools

Aside = Callable[..., AbstractContextManager[Any]]

LIMITS = Limits(head_seconds=1.0, body_seconds=1.0, garbage=3)
PATIENCE_SECONDS = 0.02
"""How long something is waited for that may rightly never come: the server may be waiting for more."""
FAILURES = {500, 502, 504}

PIECES = st.sampled_from(
    [
        b"GET /things HTTP/1.1\r\n",
        b"POST /things HTTP/1.1\r\n",
        b"PUT /things/1 HTTP/1.1\r\n",
        b"POST /rpc/things/anything HTTP/1.1\r\n",
        b"GET /live HTTP/1.1\r\n",
        b"QUERY /things HTTP/1.1\r\n",
        b"host: t\r\n",
        b"content-type: application/json\r\n",
        b"content-length: 2\r\n",
        b"content-length: 14\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: keep-alive, upgrade\r\n",
        b"upgrade: websocket\r\n",
        b"upgrade: h2c\r\n",
        b"sec-websocket-version: 13\r\n",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"expect: 100-continue\r\n",
        b"accept: text/event-stream\r\n",
        b"content-encoding: gzip\r\n",
        b"idempotency-key: k\r\n",
        b"\r\n",
        b"\r\n",
        b"{}",
        b'{"name": "tea"}',
        b"2\r\n{}\r\n",
        b"0\r\n\r\n",
        b"ffffffff\r\n",
        b"\x00",
        b"\xff",
        b"%ff",
        b" ",
        b":",
        b"\r",
        b"\n",
    ]
) | st.binary(max_size=8)
SOUND = st.sampled_from(
    [
        b"GET /things?name=a HTTP/1.1\r\nhost: t\r\n\r\n",
        b'POST /things HTTP/1.1\r\nhost: t\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"name": ""}',
    ]
)
REQUESTS = st.lists(PIECES, max_size=14).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound request with a few bytes replaced, left out or put in."""
    data = bytearray(draw(SOUND))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(data)


def told(port: int, data: bytes) -> list[int]:
    """The statuses of all answers to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as talk, suppress(ConnectionError):
        talk.sendall(data)
        talk.settimeout(PATIENCE_SECONDS)
        came = b""
        with suppress(TimeoutError):
            while piece := talk.recv(65536):
                came += piece
        lines = [line for line in came.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        return [int(line.split()[1]) for line in lines]
    return []


def lives(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as talk:
        talk.sendall(b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n")
        return talk.recv(100).startswith(b"HTTP/1.1 200")


PARSERS = pytest.mark.parametrize("parser", [PacedHttpTools, PacedH11], ids=["httptools", "h11"])


@PARSERS
@pytest.mark.timeout(0)
def test_no_bytes_fail_inside(serve_aside: Aside, parser: type[asyncio.Protocol], times: int) -> None:
    with serve_aside(parser, limits=LIMITS) as served:

        @settings(max_examples=250 * times, deadline=None, suppress_health_check=list(HealthCheck))
        @given(data=REQUESTS | mutated())
        def send(data: bytes) -> None:
            assert not FAILURES.intersection(told(served.port, data))

        send()
        assert lives(served.port)


HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ASKS = st.sampled_from(
    [b"{}", b'{"op": "unsubscribe", "id": 1}', b'{"op": "list", "id": 1, "collection": "things"}', b"\xff", b"[", b""]
)


@st.composite
def frame(draw: st.DrawFn) -> bytes:
    """A frame with any bits, masked or not, whose length may lie."""
    payload = draw(ASKS | st.binary(max_size=130))
    first = draw(st.sampled_from([0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8A]) | st.integers(0, 255))
    masked = draw(st.sampled_from([0x80, 0x80, 0x80, 0]))
    size = draw(st.just(len(payload)) | st.integers(0, 2**63))
    length = bytes([masked | size]) if size < 126 else bytes([masked | 127]) + size.to_bytes(8, "big")
    return bytes([first]) + length + (bytes(4) if masked else b"") + payload


@PARSERS
@pytest.mark.timeout(0)
def test_no_frames_fail_inside(serve_aside: Aside, parser: type[asyncio.Protocol], times: int) -> None:
    with serve_aside(parser, limits=LIMITS) as served:

        @settings(max_examples=100 * times, deadline=None, suppress_health_check=list(HealthCheck))
        @given(frames=st.lists(frame(), max_size=5), rest=st.binary(max_size=20))
        def send(frames: list[bytes], rest: bytes) -> None:
            with socket.create_connection(("127.0.0.1", served.port), timeout=5) as talk, suppress(ConnectionError):
                talk.sendall(HANDSHAKE)
                assert talk.recv(65536).startswith(b"HTTP/1.1 101")
                talk.sendall(b"".join(frames) + rest)
                talk.settimeout(PATIENCE_SECONDS)
                came = b""
                with suppress(TimeoutError):
                    while piece := talk.recv(65536):
                        came += piece
                assert b'"code":"internal"' not in came
                assert b"\x03\xf3" not in came[:4], "closed with 1011"

        send()
        assert lives(served.port)


@PARSERS
@pytest.mark.timeout(0)
def test_what_hostile_clients_leave_behind_is_nothing(
    serve_aside: Aside, parser: type[asyncio.Protocol], times: int
) -> None:
    """No task, connection, stream, request or address is kept once they have gone."""
    with serve_aside(parser, limits=LIMITS) as served:
        server, state = served.server, served.server.server_state

        def held() -> tuple[int, ...]:
            entry = served.entry
            return (
                len(state.connections),
                len(state.tasks),
                len(server.callers),
                entry._room.active,
                entry._room.reading,
                len(entry._streams),
            )

        before = held()

        @settings(max_examples=60 * times, deadline=None, suppress_health_check=list(HealthCheck))
        @given(data=REQUESTS | mutated(), frames=st.lists(frame(), max_size=3))
        def send(data: bytes, frames: list[bytes]) -> None:
            told(served.port, data)
            told(served.port, HANDSHAKE + b"".join(frames))
            told(served.port, b"GET /things HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n\r\n")

        send()
        served.until(lambda: held() == before)
        assert held() == before
