"""Servers that speak the protocol of MongoDB, each in a folder and a process of its own on the loopback.

They are SecantusDB and not MongoDB, which cannot be had everywhere: on the engine that MongoDB has, with replica sets
of one, transactions and change streams. `docs/recipes/on-mongodb.md` says where it is known to differ.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from tests.store.server import FolderServer, ready


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if find_spec("secantus") is None:
        return "there is no server that speaks the protocol of MongoDB here: pip install secantusdb"
    return ""


class Server(FolderServer):
    """One server, from its start until it is killed."""

    title = "MongoDB"
    scheme = "mongodb"
    apart = "prefix"

    def __init__(self, *options: str) -> None:
        """Make its folder.

        Args:
            options: Of its command line.
        """
        super().__init__("mongodb")
        self._options = options

    @property
    def database(self) -> str:
        return f"{self.url}/shop"

    def _begun(self) -> subprocess.Popen[bytes]:
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.folder / "data"))
        command = [sys.executable, "-W", "ignore", "-m", "secantus", *place, "--cache-size", "256M", *self._options]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def started(*options: str) -> Server:
    """A server that is ready."""
    return ready(Server(*options))
