"""Asks a server how it is, in words of its own: that a port is open says little of who is behind it."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import SplitResult, unquote

import msgspec

from hanse.kernel.resp import command
from hanse.kernel.url import split_url

ANSWER_BYTES_MAX = 16 * 1024
"""Of one line or one error; a server that says more is no such server."""

_POSTGRESQL_VERSION = 196_608
"""Of its protocol, 3.0: what a client says first."""

_LINES_MAX = 10
"""Lines that NATS may say before it answers."""


async def look(url: str, timeout: float) -> str:
    """Why a server cannot be used; empty where it can.

    Args:
        url: Where it is, with user and password.
        timeout: Seconds that it may take to answer.
    """
    parts = split_url(url)
    ask = _ASK.get(parts.scheme, _listens)
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=ANSWER_BYTES_MAX)
            try:
                return await ask(parts, reader, writer)
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer in {timeout:g} s"
    except (EOFError, asyncio.LimitOverrunError):
        return "what answers there is no such server"
    except OSError as error:
        return f"cannot connect: {error.strerror or error}"


async def _listens(parts: SplitResult, reader: StreamReader, writer: StreamWriter) -> str:
    """Nothing more is known of it."""
    del parts, reader, writer
    return ""


async def _postgresql(parts: SplitResult, reader: StreamReader, writer: StreamWriter) -> str:
    """Whether it asks who this is; while it reads what it kept, it says that it is not ready."""
    words = ("user", unquote(parts.username or ""), "database", unquote(parts.path[1:]), "")
    said = _POSTGRESQL_VERSION.to_bytes(4, "big") + b"".join(word.encode() + b"\0" for word in words)
    writer.write((len(said) + 4).to_bytes(4, "big") + said)
    kind = await reader.readexactly(1)
    if kind == b"R":
        return ""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if kind != b"E" or size > ANSWER_BYTES_MAX:
        return "what answers there is no such server"
    fields = (await reader.readexactly(size - 4)).split(b"\0")
    return next((one[1:].decode(errors="replace") for one in fields if one[:1] == b"M"), "it refuses")


async def _redis(parts: SplitResult, reader: StreamReader, writer: StreamWriter) -> str:
    if parts.password:
        words = (parts.username, parts.password) if parts.username else (parts.password,)
        writer.write(command(b"AUTH", *(unquote(word).encode() for word in words)))
        if refusal := _refusal(await reader.readuntil(b"\r\n"), b"+OK"):
            return refusal
    writer.write(command(b"PING"))
    return _refusal(await reader.readuntil(b"\r\n"), b"+PONG")


def _refusal(line: bytes, expected: bytes) -> str:
    return "" if line.rstrip() == expected else line.rstrip().lstrip(b"-").decode(errors="replace")


async def _nats(parts: SplitResult, reader: StreamReader, writer: StreamWriter) -> str:
    if not (await reader.readuntil(b"\n")).startswith(b"INFO "):
        return "what answers there is no such server"
    known = {"user": unquote(parts.username or ""), "pass": unquote(parts.password or "")}
    writer.write(b"CONNECT " + msgspec.json.encode({"verbose": False, "pedantic": False, **known}) + b"\r\nPING\r\n")
    for _ in range(_LINES_MAX):
        line = await reader.readuntil(b"\n")
        if line.startswith(b"PONG"):
            return ""
        if line.startswith(b"-ERR"):
            return line.removeprefix(b"-ERR").strip().strip(b"'").decode(errors="replace")
    return "what answers there is no such server"


_Ask = Callable[[SplitResult, StreamReader, StreamWriter], Awaitable[str]]

_ASK: Mapping[str, _Ask] = {
    "nats": _nats,
    "postgres": _postgresql,
    "postgresql": _postgresql,
    "redis": _redis,
    "valkey": _redis,
}
