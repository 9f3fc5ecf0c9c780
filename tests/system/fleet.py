"""An app apart: a process for each part of it, ended by its id."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.transport.amqp import server as rabbit
from tests.transport.nats.server import Server
from tests.transport.process import free_port
from tests.transport.redis.server import Server as Redis

from hanse.kernel.settings import NodeSettings

from .served import serving

MEDIUMS = ("unix", "tcp", "zmq", "nats", "redis")
"""What carries messages between the processes."""

RABBIT = pytest.param("amqp", marks=pytest.mark.skipif(rabbit.binary() is None, reason=rabbit.WANTED))
"""One that takes seconds to start, and is no wheel: for those who look at what it might lose."""

BROKERS: Mapping[str, Callable[[Path], Server | Redis | rabbit.Server]] = {
    "nats": Server,
    "redis": lambda folder: Redis(folder, "--appendonly", "yes"),
    "amqp": rabbit.Server,
}


@contextmanager
def medium(name: str, folder: Path) -> Generator[tuple[str, ...]]:
    """The options that name a transport, while whatever has to run for it does."""
    if name == "unix":
        yield "--transport", "unix:run"
        return
    if name in {"tcp", "zmq"}:
        # A port of its own, that nodes of other tests are not heard.
        yield "--transport", f"{name}://", "--discovery", f"udp://239.255.72.83:{free_port()}"
        return
    server = BROKERS[name](folder)
    server.start()
    server.wait_ready()
    try:
        yield "--transport", server.url
    finally:
        if isinstance(server, rabbit.Server):
            server.close()
        else:
            server.kill()


def keys_in(folder: Path) -> dict[str, str]:
    """Settings by which all nodes prove one key to each other over ZeroMQ."""
    from hanse.transport.zmq.keys import new_keys

    public, secret = new_keys()
    _ = (folder / "node.key").write_text(secret)
    _ = (folder / "allowed").write_text(f"{public} all nodes\n")
    return {"zmq_secret": str(folder / "node.key"), "zmq_allowed": str(folder / "allowed")}


def node_settings(folder: Path, *options: str) -> NodeSettings:
    """The same as settings, for a node of the test's own process."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    transport = given["--transport"].replace("unix:", f"unix:{folder}/")
    return NodeSettings(transport=transport, discovery=given.get("--discovery", ""))


class Fleet:
    """Processes of one app by what they host, and a number behind a `#` where several host the same.

    Args of the constructor:
        target: The app, as `hanse run` takes it.
        folder: Where they run.
        options: More of the command line, of each.
        within: What the commands of some go behind, such as that of another host's network namespace.
    """

    def __init__(
        self, target: Path, folder: Path, *options: str, within: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> None:
        self._target = target
        self._options = options
        self._folder = folder
        self._within = within
        self._running: dict[str, tuple[ExitStack, str]] = {}

    def start(self, part: str, port: str = "") -> str:
        """Start a process; the address at which it answers, once it does."""
        # None that the kernel gives to who connects, so that it is free still when this part is started again.
        port = port or str(free_port())
        stack = ExitStack()
        options = ("--services", part.partition("#")[0], *self._options)
        within = self._within.get(part, ())
        url = stack.enter_context(serving(self._folder, self._target, *options, port=port, within=within))
        self._running[part] = stack, url
        return url

    def kill(self, part: str) -> None:
        """End one as a power cut would."""
        stack, _ = self._running.pop(part)
        stack.close()

    def again(self, part: str) -> str:
        """Kill one and start it at the same address."""
        port = self._running[part][1].rpartition(":")[2]
        self.kill(part)
        return self.start(part, port)

    def end(self) -> None:
        """Kill all."""
        for part in list(self._running):
            self.kill(part)


@contextmanager
def fleet(
    target: Path,
    parts: Iterable[str],
    folder: Path,
    *options: str,
    within: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Generator[Fleet]:
    """All parts of an app, each in its process."""
    found = Fleet(target, folder, *options, within=within)
    try:
        for part in parts:
            _ = found.start(part)
        yield found
    finally:
        found.end()


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    command = [sys.executable, "-m", "hanse", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
