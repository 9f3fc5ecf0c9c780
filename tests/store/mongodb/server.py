"""Servers that speak the protocol of MongoDB, each in a folder and a process of its own on the loopback.

They are SecantusDB and not MongoDB, which cannot be had everywhere: on the engine that MongoDB has, with replica sets
of one, transactions and change streams. `docs/recipes/on-mongodb.md` says where it is known to differ.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

READY_TRIES_MAX = 1_500
STOP_SECONDS_MAX = 60.0

# Never those that the kernel gives to clients; elsewhere for each worker of the tests.
_ports = itertools.count(20_000 + os.getpid() % 400 * 16)


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if find_spec("secantus") is None:
        return "there is no server that speaks the protocol of MongoDB here: pip install secantusdb"
    return ""


def free_port() -> int:
    """A port on the loopback that nobody listens on."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class Server:
    """One server, from its start until it is killed; it comes back at the same port with what it has kept."""

    def __init__(self, *options: str) -> None:
        """Make its folder, which `remove` removes.

        Args:
            options: Of its command line.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="hanse-mongodb-"))
        self.port: int = free_port()
        self._log = self.folder / "log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, prefix: str = "", database: str = "shop", **options: str) -> str:
        """Of a store on it."""
        wanted = ({"prefix": prefix} if prefix else {}) | options
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        return f"mongodb://127.0.0.1:{self.port}/{database}" + (f"?{query}" if query else "")

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.folder / "data"))
        command = [sys.executable, "-W", "ignore", "-m", "secantus", *place, "--cache-size", "256M", *self._options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        """Return when it takes connections."""
        for _ in range(READY_TRIES_MAX):
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)  # nothing tells when a server is ready
        raise AssertionError(f"the server was not ready:\n{self._log.read_text()}")

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it do nothing, with all its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(STOP_SECONDS_MAX)
        self._process = None

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()
        self.wait_ready()

    def remove(self) -> None:
        """Kill it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def started(*options: str) -> Server:
    """A server that is ready."""
    one = Server(*options)
    try:
        one.start()
        one.wait_ready()
    except BaseException:
        one.remove()
        raise
    return one
