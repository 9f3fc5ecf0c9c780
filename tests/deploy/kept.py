"""A keeper that runs, and what a test says to it and hears of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hanse.deploy.home import Home
from hanse.deploy.keeper_words import Gone, Greeting, Launch, News, Order, Words, encoded, news_of
from hanse.deploy.linux import children_of
from hanse.transport.stream.socket_file import short

T = TypeVar("T")

WAIT_SECONDS = 30.0
"""For anything to come; a test that waits longer has failed."""

KEEP = Path(__file__).with_name("keep.py")


class Kept:
    """A keeper in a folder, and the words between it and its supervisor."""

    def __init__(self, folder: Path, guard: subprocess.Popen[str]) -> None:
        self.home = Home(folder)
        self.guard = guard
        self._link: socket.socket | None = None
        self._words = Words()
        self._heard: list[News] = []
        self.greeting = self.connect()

    def connect(self) -> Greeting:
        """Be the supervisor, or the next one."""
        self.hang_up()
        self._link = socket.socket(socket.AF_UNIX)
        self._link.settimeout(WAIT_SECONDS)
        while not self.home.control.exists():
            assert self.guard.poll() is None, "the keeper has ended"
            os.sched_yield()
        with short(self.home.control) as name:
            self._link.connect(name)
        self._words, self._heard = Words(), []
        return self.hear(Greeting)

    def hang_up(self) -> None:
        if self._link is not None:
            self._link.close()

    def say(self, *orders: Order) -> None:
        assert self._link is not None
        self._link.sendall(b"".join(map(encoded, orders)))

    def hear(self, kind: type[T]) -> T:
        """The next news of a kind; others before it are passed over."""
        assert self._link is not None
        while True:
            while self._heard:
                news = self._heard.pop(0)
                if isinstance(news, kind):
                    return news
            data = self._link.recv(65_536)
            assert data, f"the keeper hung up before it told {kind.__name__}"
            self._heard += map(news_of, self._words.feed(data))

    def launch(self, name: str, *arguments: str, **environment: str) -> None:
        log = str(self.home.log_of(name.partition(".")[0]))
        given = {"PATH": os.environ["PATH"], **environment}
        self.say(Launch(name, arguments, str(self.home.project), given, name, log))

    def python(self, name: str, code: str, **environment: str) -> None:
        """Launch a program."""
        self.launch(name, sys.executable, "-S", "-c", code, **environment)

    @property
    def keeper(self) -> int:
        (pid,) = children_of(self.guard.pid)
        return pid

    def supervisor(self, others: set[int]) -> int:
        """Process id of the relay."""
        (pid,) = set(children_of(self.keeper)) - others
        return pid

    def log(self, service: str) -> list[str]:
        """What stands in a log, without dates."""
        return [line.partition(" ")[2] for line in self.home.log_of(service).read_text().splitlines()]


@contextmanager
def keeping(folder: Path) -> Generator[Kept]:
    """A keeper, and none of its processes left behind."""
    with subprocess.Popen([sys.executable, str(KEEP)], cwd=folder, text=True, stderr=subprocess.PIPE) as guard:
        try:
            kept = Kept(folder, guard)
            try:
                yield kept
            finally:
                kept.hang_up()
        finally:
            guard.kill()
            _, told = guard.communicate(timeout=WAIT_SECONDS)
            assert "Traceback" not in told, told


def ended(kept: Kept, name: str) -> Gone:
    """The end of a process."""
    while (gone := kept.hear(Gone)).process != name:
        pass
    return gone
