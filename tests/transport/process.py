"""Servers of brokers as processes of their own, on ports of the loopback; each is ended by its id."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

READY_TRIES_MAX = 3_000
STOP_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.02
"""Between looks at what nothing tells of, such as that a server listens by now."""

PORT_LEAST, PORTS, STEP = 6_500, 13_499, 5_007
"""Ports that the kernel gives to no client, nor pages to their servers; how many, a prime; how far it is to the next.

So no process of tests comes soon to the ports of another: one that is free for a moment is for who was killed there.
"""

_ports: Iterator[int] = (PORT_LEAST + (os.getpid() * 16 + n * STEP) % PORTS for n in itertools.count())


def free_port() -> int:
    """A port on the loopback that nobody listens on, and that was not handed out before."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class ServerProcess(ABC):
    """One server, from its start until it is killed; it comes back at the same port.

    Attributes:
        port: Where it listens.
        insists: Whether one that ends before it is ready is started again.
    """

    title: str
    scheme: str
    insists: bool = False

    def __init__(self, log: Path, port: int = 0) -> None:
        self.port: int = port or free_port()
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    @property
    def is_well(self) -> bool:
        """Whether it runs, and does not stand still."""
        return self._process is not None and self._process.poll() is None and not self._frozen

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._process = self._begun()

    def wait_ready(self) -> None:
        """Return when it can be used."""
        assert self._process is not None
        for _ in range(READY_TRIES_MAX):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                if self._answers(client):
                    return
            try:
                self._process.wait(LOOK_SECONDS)  # nothing tells when a server begins to listen
            except subprocess.TimeoutExpired:
                continue
            if not self.insists:
                break
            self.start()
        raise AssertionError(f"{self.title} was not ready:\n{self._log.read_text() if self._log.exists() else ''}")

    def freeze(self) -> None:
        """Have it stand still, with its sockets open; return once it does."""
        assert self._process is not None
        self._frozen = True
        self._signal(signal.SIGSTOP)
        self._stopped()

    def thaw(self) -> None:
        """Have it go on."""
        self._frozen = False
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGKILL)
            self._process.wait(STOP_SECONDS_MAX)
        self._process, self._frozen = None, False

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()
        self.wait_ready()

    @abstractmethod
    def _begun(self) -> subprocess.Popen[bytes]:
        """Its process."""

    def _answers(self, client: socket.socket) -> bool:
        """Whether one that listens is ready, too."""
        del client
        return True

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _stopped(self) -> None:
        """Return when the signal has reached all its threads: until then it may still answer."""
        assert self._process is not None
        _ = os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)


S = TypeVar("S", bound=ServerProcess)


@contextmanager
def running(server: S) -> Generator[S]:
    """It runs, and is ready."""
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()
