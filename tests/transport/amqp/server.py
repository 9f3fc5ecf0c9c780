"""Real RabbitMQ servers, each in processes of its own on the loopback, ended by their ids."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

READY_TRIES_MAX = 3_000
STOP_SECONDS_MAX = 10.0
WANTED = "there is no rabbitmq-server on this machine: apt-get install rabbitmq-server"

# Never those that the kernel gives to clients; elsewhere for each worker of the tests.
_ports = itertools.count(13_000 + os.getpid() % 400 * 16)


def binary(name: str = "rabbitmq-server") -> str | None:
    """The machine's own server, or a tool of it; there is no wheel of one."""
    # What Debian has in /usr/sbin changes to a user who may not write to the folder of a test.
    return shutil.which(name, path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")


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
    """One server, from its start until it is killed; it comes back at the same port, with what it has kept."""

    def __init__(self, folder: Path, *lines: str) -> None:
        found = binary()
        assert found is not None
        self.port: int = free_port()
        self._folder = folder
        self._names = free_port(), free_port()
        self._command = [found]
        config = folder / "rabbitmq.conf"
        config.write_text("\n".join([f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.file.level = warning", *lines]))
        self._process: subprocess.Popen[bytes] | None = None
        self._registry: subprocess.Popen[bytes] | None = None
        self._log = folder / "server.log"

    @property
    def url(self) -> str:
        return f"amqp://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Where all of it is; with this, `rabbitmqctl` speaks to it."""
        folder, (registry, peers) = self._folder, self._names
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(registry),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "hanse@localhost",
            "RABBITMQ_DIST_PORT": str(peers),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            # Two schedulers are enough, and do not keep the machine busy while they have nothing to do.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        if self._registry is None:
            # Its own would go on by itself when it is killed.
            registry = [str(self._epmd()), "-address", "127.0.0.1", "-port", str(self._names[0])]
            self._registry = subprocess.Popen(registry, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_ready(self) -> None:
        """Return when it listens, which it does once all else is there."""
        assert self._process is not None
        for _ in range(READY_TRIES_MAX):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            try:
                self._process.wait(0.02)  # nothing tells when a server begins to listen
                break
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"RabbitMQ was not ready:\n{self._log.read_text()}")

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says."""
        command = [str(binary("rabbitmqctl")), *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def freeze(self) -> None:
        """Have it stand still, with its sockets open."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGCONT)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS_MAX)
        self._process = None

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()
        self.wait_ready()

    def copy_streams(self) -> Path:
        """Kill it, keep what its streams have by now, and start it again; where that is kept."""
        copy = self._folder / "streams"
        self.kill()
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._streams, copy)
        self.start()
        self.wait_ready()
        return copy

    def lose_streams(self, copy: Path) -> None:
        """Kill it, and start it with its streams as they were, as after a power cut; all else it has as it was."""
        self.kill()
        shutil.rmtree(self._streams)
        shutil.copytree(copy, self._streams)
        self.start()
        self.wait_ready()

    @property
    def _streams(self) -> Path:
        return self._folder / "data" / "hanse@localhost" / "stream"

    def close(self) -> None:
        """End it, and what came with it."""
        self.kill()
        if self._registry is not None:
            self._registry.kill()
            self._registry.wait(STOP_SECONDS_MAX)
        self._registry = None

    @staticmethod
    def _epmd() -> Path:
        found = shutil.which("epmd")
        if found is not None:
            return Path(found)
        return next(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
