"""Real NATS servers, each in a process of its own on the loopback, ended by their ids."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.transport.process import ServerProcess, free_port

BINARY = Path(sys.executable).parent / "nats-server"


class Server(ServerProcess):
    title = "nats-server"
    scheme = "nats"

    def __init__(self, folder: Path, *arguments: str, port: int = 0, kept: bool = True) -> None:
        port = port or free_port()
        log = folder / f"nats-{port}.log"
        super().__init__(log, port)
        self._command = [str(BINARY), "-a", "127.0.0.1", "-p", str(port), "-l", str(log), *arguments]
        self._kept = folder / f"nats-{port}"
        if kept:
            self._command += ["-js", "-sd", str(self._kept)]

    def copy_of(self, stream: str) -> Path:
        """Kill it, keep what a stream has by now, and start it again; where that is kept."""
        copy = self._kept.with_suffix(".copy")
        self.kill()
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._place(stream), copy)
        self.start()
        self.wait_ready()
        return copy

    def set_back(self, stream: str, copy: Path) -> None:
        """Kill it, and start it with a stream as it was, as after a power cut; all else it has as it is."""
        self.kill()
        shutil.rmtree(self._place(stream))
        shutil.copytree(copy, self._place(stream))
        self.start()
        self.wait_ready()

    def _place(self, stream: str) -> Path:
        return self._kept / "jetstream" / "$G" / "streams" / stream

    def _begun(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _answers(self, client: socket.socket) -> bool:
        return client.recv(5) == b"INFO "


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
