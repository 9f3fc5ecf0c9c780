"""Which server of a cluster of NATS leads a stream: asked in NATS's own words, with no code of ours in between."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from contextlib import suppress

from tests.transport.process import ServerProcess

ASKED_MAX = 300
ASK_SECONDS = 2.0
LOOK_SECONDS = 0.2


async def leader(stream: str, servers: Sequence[ServerProcess]) -> ServerProcess:
    """The one of these that leads it, once one does.

    Args:
        stream: Its name.
        servers: In the order of their names, of which the first is `n0`.

    Raises:
        AssertionError: None did for long.
    """
    for at in range(ASKED_MAX):
        with suppress(OSError, ValueError):
            if name := await asyncio.to_thread(_asked, stream, servers[at % len(servers)]):
                return servers[int(name.removeprefix("n"))]
        await asyncio.sleep(LOOK_SECONDS)  # nothing tells of an election
    raise AssertionError(f"nobody leads {stream}")


def _asked(stream: str, server: ServerProcess) -> str:
    """Whom a server knows as its leader; empty for nobody."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ASK_SECONDS) as asking:
        lines = asking.makefile("rb")
        asking.sendall(b'CONNECT {"verbose":false}\r\nSUB told 1\r\n')
        asking.sendall(f"PUB $JS.API.STREAM.INFO.{stream} told 0\r\n\r\n".encode())
        for line in lines:
            if line.startswith(b"MSG told"):
                answer = json.loads(lines.read(int(line.split()[-1])))
                return str(answer.get("cluster", {}).get("leader", ""))
    return ""
