"""Real RabbitMQ servers, each in processes of its own on the loopback, ended by their ids."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.transport.process import LOOK_SECONDS, READY_TRIES_MAX, STOP_SECONDS_MAX, ServerProcess, free_port

WANTED = "there is no rabbitmq-server on this machine: apt-get install rabbitmq-server"


def binary(name: str = "rabbitmq-server") -> str | None:
    """The machine's own server, or a tool of it; there is no wheel of one."""
    # What Debian has in /usr/sbin changes to a user who may not write to the folder of a test.
    return shutil.which(name, path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")


class Server(ServerProcess):
    """It comes back with what it has kept."""

    title = "RabbitMQ"
    scheme = "amqp"

    def __init__(self, folder: Path, *lines: str) -> None:
        found = binary()
        assert found is not None
        super().__init__(folder / "server.log")
        self._folder = folder
        self._names = free_port(), free_port()
        self._command = [found]
        config = folder / "rabbitmq.conf"
        config.write_text("\n".join([f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.file.level = warning", *lines]))
        self._registry: subprocess.Popen[bytes] | None = None

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

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says."""
        command = [str(binary("rabbitmqctl")), *arguments]
        done = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

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

    def _begun(self) -> subprocess.Popen[bytes]:
        if self._registry is None:
            # Its own would go on by itself when it is killed.
            registry = [str(self._epmd()), "-address", "127.0.0.1", "-port", str(self._names[0])]
            self._registry = subprocess.Popen(registry, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, env=self.environment, stdout=log, stderr=log, start_new_session=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _stopped(self) -> None:
        assert self._process is not None
        for _ in range(READY_TRIES_MAX):
            if all(state in "TZ" for state in _states(self._process.pid)):
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)  # nothing tells of children of children


def _states(group: int) -> list[str]:
    """What the processes of a group are doing, as `ps` says it."""
    states: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, its = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its) == group:
                states.append(state)
    return states
