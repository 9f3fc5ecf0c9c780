"""Asks a server of gRPC how it is, by `grpc.health.v1`: one request of HTTP/2, and as much of its answer as matters.

No header of the answer is read, so nothing of HPACK is needed but a few lines that never change: what counts is the
message. A server that has no health service answers without one; it answers, and so it is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

FRAMES_MAX = 64
"""Of an answer that are looked at."""

FRAME_BYTES_MAX = 16 * 1024

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_SERVING = 1
_NAMES = ("nobody knows", "serving", "not serving", "no such service")


async def grpc_health(host: str, port: int) -> str:
    """What is wrong with a server of gRPC; empty where nothing is.

    Args:
        host: Its address.
        port: Its port.

    Raises:
        OSError, EOFError, ValueError: It cannot be reached, goes away, or speaks no HTTP/2.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        writer.write(_frame(_HEADERS, _END_HEADERS, 1, _head(f"{host}:{port}".encode())))
        writer.write(_frame(_DATA, _END_STREAM, 1, bytes(5)))
        async for kind, flags, stream, payload in _frames(reader):
            if kind == _SETTINGS and not flags & _ACK:
                writer.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _GOAWAY:
                return "it takes no calls any more"
            elif kind == _DATA and stream == 1:
                return told(payload)
            elif kind == _HEADERS and stream == 1 and flags & _END_STREAM:
                return ""
        raise ValueError(f"expected an answer within {FRAMES_MAX} frames of HTTP/2")
    finally:
        writer.transport.abort()


def told(message: bytes) -> str:
    """What is wrong by a message of the health service; empty where nothing is.

    Example:
        >>> told(bytes([0, 0, 0, 0, 2, 8, 1])), told(bytes([0, 0, 0, 0, 2, 8, 2]))
        ('', 'its health service says: not serving')
    """
    body = message[5:]
    status = body[1] if body[:1] == b"\x08" and len(body) > 1 else 0
    return (
        "" if status == _SERVING else f"its health service says: {_NAMES[status] if status < len(_NAMES) else status}"
    )


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, int, int, bytes]]:
    for number in range(FRAMES_MAX):
        head = await reader.readexactly(9)
        size, kind = int.from_bytes(head[:3], "big"), head[3]
        if size > FRAME_BYTES_MAX or (not number and kind != _SETTINGS):
            raise ValueError(f"expected HTTP/2, got {head!r}")
        yield kind, head[4], int.from_bytes(head[5:], "big"), await reader.readexactly(size)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _head(authority: bytes) -> bytes:
    """POST, http, the path, the authority, the content's type and `te`, none of them to be remembered."""
    return b"".join(
        (
            b"\x83\x86",
            b"\x04" + _text(b"/grpc.health.v1.Health/Check"),
            b"\x01" + _text(authority),
            b"\x0f\x10" + _text(b"application/grpc"),
            b"\x00" + _text(b"te") + _text(b"trailers"),
        )
    )


def _text(text: bytes) -> bytes:
    return bytes([len(text)]) + text
