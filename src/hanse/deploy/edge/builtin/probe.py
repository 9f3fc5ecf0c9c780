"""Asks a server that was left alone whether it is back."""

from __future__ import annotations

import asyncio
import re

from hanse.control.edge_table import Server

PROBE_SECONDS = 1.0
"""That a server has to answer."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


async def probe(server: Server, path: str) -> int | None:
    """What a server answers.

    Args:
        server: Who is asked.
        path: What for; empty to connect only.

    Returns:
        The status, 0 where a connection was all, and None where there is no answer.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await _asked(server, path)
    except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        return None


async def _asked(server: Server, path: str) -> int | None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        if not path:
            return 0
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nConnection: close\r\n\r\n".encode())
        match = _STATUS.match(await reader.readuntil(b"\r\n"))
        return int(match[1]) if match else None
    finally:
        writer.close()
