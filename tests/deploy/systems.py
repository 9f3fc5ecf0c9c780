"""A system that `hanse up` runs in a folder, of small foreign services, and commands about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

from hanse.cli.system import until
from hanse.control.rollout import ENDED
from hanse.deploy.control_client import POLL_SECONDS, asked, asked_of_releases
from hanse.deploy.control_words import Ask, Status, is_settled
from hanse.deploy.home import Home
from hanse.deploy.linux import children_of
from hanse.deploy.release_words import RolloutAsk, RolloutTold
from hanse.kernel.host import Host

T = TypeVar("T")

HANSE = [sys.executable, "-m", "hanse"]
WAIT_SECONDS = 60.0

ROLLOUT_SECONDS = 240.0
"""That a rollout may take to come to something, on a machine that has much else to do."""

WEB = """
import os, signal, socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("serving as", os.environ["HANSE_INSTANCE"], flush=True)
while True:
    link, _ = server.accept()
    with link:
        request = link.recv(65536).split(b" ")
        if request[:1] == [b"GET"] and request[1] == b"/api/die":
            os._exit(3)
        body = " ".join([os.environ["HANSE_INSTANCE"], os.environ.get("GREETING", "-"), request[1].decode()]).encode()
        link.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
"""
"""A server that starts quickly, tells who it is, and dies when it is asked to."""

PYTHON = f"{sys.executable} -S -E"

SETTINGS = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} web.py {{host}} {{port}}"
route = "/api"
needs = ["store"]

[services.store]
command = "{PYTHON} web.py {{host}} {{port}}"
health = "/up"
"""


class Running:
    """A system, and its folder."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self.process = process
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def deaf(self) -> None:
        """Close the end that is read: whoever writes there hears of it."""
        assert self.process.stdout is not None
        os.dup2(os.open(os.devnull, os.O_RDONLY), self.process.stdout.fileno())

    def until(self, part: str, *, after: int = 0) -> int:
        """Wait for a line with this in it; how many there are up to it."""
        with self._news:
            found = self._news.wait_for(lambda: self._number(part, after), WAIT_SECONDS)
            assert found, f"no line with {part!r} in:\n" + "\n".join(self.lines)
            return self._number(part, after)

    def _number(self, part: str, after: int) -> int:
        return next((number for number, line in enumerate(self.lines, 1) if number > after and part in line), 0)

    def hanse(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return hanse(self.folder, *arguments)

    def status(self) -> Status:
        """How it is now."""
        return asked(Home(self.folder), Ask("status"))

    def ready(self) -> Status:
        """How it is once all is ready."""
        found = until(Home(self.folder), WAIT_SECONDS, lambda one: one is not None and is_settled(one), "all")
        assert found is not None
        return found

    def rollout(self, service: str, is_so: Callable[[RolloutTold], bool]) -> RolloutTold:
        """The latest rollout of a service, once something is so of it."""
        ask = Ask("rollout", rollout=RolloutAsk(service=service))
        return looked(lambda: asked_of_releases(Home(self.folder), ask).rollouts[0], is_so)

    def over(self, service: str = "web") -> RolloutTold:
        """The latest rollout of a service, once it has come to its end."""
        return self.rollout(service, lambda one: one.rollout.state in ENDED)

    def get(self, path: str) -> str:
        """What the edge answers."""
        with urlopen(self.status().edge + path, timeout=WAIT_SECONDS) as answer:
            return str(answer.read().decode())

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(WAIT_SECONDS)
        self.heard_out()
        return code

    def heard_out(self) -> None:
        """Wait until all that it printed was read."""
        self._reader.join(WAIT_SECONDS)


def doors(system: Running, name: str) -> list[int]:
    """Process ids of the edge, or of the egress, as they are now."""
    place = str(system.folder / ".hanse" / "run" / name)
    found = children_of(system.status().keeper)
    return [pid for pid in found if place in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")]


def looked(look: Callable[[], T], is_so: Callable[[T], bool]) -> T:
    """What is seen once something is so of it: a look costs next to nothing, where a command is a process."""
    never, host = threading.Event(), Host.system()
    end = host.monotonic() + ROLLOUT_SECONDS
    while not is_so(found := look()):
        assert host.monotonic() < end, found
        _ = never.wait(POLL_SECONDS)
    return found


def hanse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, to its end."""
    return subprocess.run(
        [*HANSE, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
    )


def write(folder: Path, settings: str = SETTINGS) -> Path:
    """A folder with the settings, and the program of its services."""
    (folder / "web.py").write_text(WEB)
    (folder / "hanse.toml").write_text(settings)
    return folder


@contextmanager
def running(
    folder: Path, settings: str = SETTINGS, *arguments: str, environment: Mapping[str, str] = {}
) -> Generator[Running]:
    """A system that runs, and is killed in the end."""
    _ = write(folder, settings)
    with subprocess.Popen(
        [*HANSE, "up", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        system = Running(folder, process)
        try:
            yield system
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            system.heard_out()
