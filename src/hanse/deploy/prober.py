"""Asks an instance how it is, over HTTP or by the health service of gRPC: that its port is open proves nothing.

Servers that speak something else are asked in their own words (`resources/look.py`).
"""

from __future__ import annotations

import asyncio

from hanse.control.desired import GRPC_HEALTH, Probe
from hanse.deploy.grpc_health import grpc_health
from hanse.deploy.resources.look import look

HEAD_BYTES_MAX = 4 * 1024
"""Of an answer that are looked at: its first line is all that matters."""

FAILING = 500
"""Any status below is healthy: who is asked for a path that needs a login, or is not there, answers all the same."""


async def looked(probe: Probe, host: str, port: int) -> str:
    """What is wrong with an instance; empty where nothing is.

    Args:
        probe: What is asked, and how long an answer may take.
        host: Its address.
        port: Its port.
    """
    if "://" in probe.path:
        return await look(probe.path, probe.timeout)
    grpc = probe.path == GRPC_HEALTH
    asked = probe.path if grpc else f"GET {probe.path}"
    try:
        async with asyncio.timeout(probe.timeout):
            if grpc:
                why = await grpc_health(host, port)
                return f"{asked}: {why}" if why else ""
            return judged(await _first_line(probe.path, host, port), probe.path)
    except TimeoutError:
        return f"no answer to {asked} in {probe.timeout:g} s"
    except ConnectionRefusedError:
        return f"nobody listens at port {port}"
    except (OSError, EOFError, ValueError) as error:
        return f"{asked}: {str(error) or type(error).__name__}"


def judged(line: bytes, path: str) -> str:
    """What is wrong with the first line of an answer; empty where nothing is.

    Example:
        >>> judged(b"HTTP/1.1 404 Not Found", "/up"), judged(b"HTTP/1.1 503 Later", "/up")
        ('', 'GET /up: 503')
    """
    version, _, rest = line.partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        return f"GET {path}: expected an answer in HTTP/1.1, got {line[:40]!r}"
    return "" if int(status) < FAILING else f"GET {path}: {status.decode()}"


async def _first_line(path: str, host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=HEAD_BYTES_MAX)
    try:
        head = (f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "User-Agent: hanse-health", "Connection: close", "", "")
        writer.write("\r\n".join(head).encode())
        return (await reader.readuntil(b"\n")).strip()
    except asyncio.IncompleteReadError as error:
        raise EOFError(f"the connection ended, with {error.partial[:40]!r}") from None
    except asyncio.LimitOverrunError:
        raise ValueError(f"a first line of more than {HEAD_BYTES_MAX} bytes") from None
    finally:
        # Whoever is asked often is not left with many connections that wait for their end.
        writer.transport.abort()
