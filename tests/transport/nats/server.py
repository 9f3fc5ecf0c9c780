"""Real NATS servers, each in a process of its own on the loopback, ended by their ids."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

READY_TRIES_MAX = 1_000
STOP_SECONDS_MAX = 10.0
BINARY = Path(sys.executable).parent / "nats-server"

# Never those that the kernel gives to clients; elsewhere for each worker of the tests.
_ports = itertools.count(14_000 + os.getpid() % 1_000 * 16)


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

    def __init__(self, folder: Path, *arguments: str, port: int = 0, kept: bool = True) -> None:
        self.port: int = port or free_port()
        self._log = folder / f"nats-{self.port}.log"
        self._command = [str(BINARY), "-a", "127.0.0.1", "-p", str(self.port), "-l", str(self._log), *arguments]
        if kept:
            self._command += ["-js", "-sd", str(folder / f"nats-{self.port}")]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_ready(self) -> None:
        """Return when it greets."""
        assert self._process is not None
        for _ in range(READY_TRIES_MAX):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                if client.recv(5) == b"INFO ":
                    return
            try:
                self._process.wait(0.02)  # nothing tells when a server begins to listen
                break
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"nats-server was not ready:\n{self._log.read_text() if self._log.exists() else ''}")

    def freeze(self) -> None:
        """Have it stand still, with its sockets open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

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


def cluster(folder: Path, size: int) -> Sequence[Server]:
    """Servers that know each other; not started."""
    routes = [free_port() for _ in range(size)]
    all_routes = ",".join(f"nats-route://127.0.0.1:{route}" for route in routes)
    return [
        Server(
            folder,
            *("-n", f"n{index}", "--cluster_name", "tests", "--cluster", f"nats://127.0.0.1:{route}"),
            *("--routes", all_routes),
        )
        for index, route in enumerate(routes)
    ]
