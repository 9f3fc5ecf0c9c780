"""The parent of `hanse dev`, with real children: none is left behind, whatever becomes of them."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from hanse.cli.dev_parent import _PACKAGE, _Parent
from hanse.cli.output import Output
from hanse.cli.reload import Changed, Event, Signalled

STARTING = """
import os, signal
signal.signal(signal.SIGTERM, signal.{handler})
with open("{told}", "w"):
    pass
while True:
    signal.pause()
"""
KILLED = 128 + signal.SIGKILL
STOPPED = 128 + signal.SIGTERM
STOP_SECONDS_MAX = 0.2


class Dev:
    """A parent whose events come from the test. Its app says that it has begun, and then goes on for ever."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.app = folder / "shop.py"
        self._url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        self._told = folder / "told"
        os.mkfifo(self._told)
        self.writes("SIG_DFL")
        self.parent = _Parent(["dev", str(self.app)], self.events, listener, Output())

    def writes(self, handler: str) -> None:
        """What the app does with SIGTERM."""
        self.app.write_text(STARTING.format(handler=handler, told=self._told))

    def begins(self) -> None:
        """Wait until a child has imported the app."""
        self._told.read_bytes()

    def asked(self) -> str:
        """What somebody is told, as soon as anybody answers."""
        with pytest.raises(HTTPError) as refused:
            urlopen(self._url)
        with refused.value as answer:
            return answer.read().decode()

    def while_it_runs(self, doing: Callable[[], None]) -> int:
        """The exit code of the parent."""
        other = threading.Thread(target=doing)
        other.start()
        try:
            return self.parent.run(STOP_SECONDS_MAX)
        finally:
            other.join()


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Dev(tmp_path, listener)


def test_a_child_that_does_not_end_in_time_is_killed(dev: Dev) -> None:
    dev.writes("SIG_IGN")

    def stop() -> None:
        dev.begins()
        dev.events.put(Signalled(signal.SIGTERM))

    assert dev.while_it_runs(stop) == KILLED


def test_files_that_go_on_changing_give_it_no_more_time(dev: Dev) -> None:
    dev.writes("SIG_IGN")
    ended = threading.Event()

    def change() -> None:
        dev.begins()
        dev.events.put(Signalled(signal.SIGTERM))
        while not ended.wait(STOP_SECONDS_MAX / 10):
            dev.events.put(Changed((str(dev.app),)))

    other = threading.Thread(target=change)
    other.start()
    try:
        assert dev.parent.run(STOP_SECONDS_MAX) == KILLED
    finally:
        ended.set()
        other.join()


def test_one_that_does_not_make_room_for_the_next_is_killed_too(dev: Dev) -> None:
    dev.writes("SIG_IGN")

    def change() -> None:
        dev.begins()
        dev.writes("SIG_DFL")
        dev.events.put(Changed((str(dev.app),)))
        dev.begins()
        dev.events.put(Signalled(signal.SIGTERM))

    assert dev.while_it_runs(change) == STOPPED


def test_a_spare_that_has_imported_what_changed_is_not_used(dev: Dev) -> None:
    first = dev.parent._spare.process
    spares = [first]

    def change() -> None:
        dev.begins()
        spares.append(dev.parent._spare.process)
        dev.events.put(Changed((f"{_PACKAGE}/none.py",)))
        dev.begins()
        dev.events.put(Signalled(signal.SIGTERM))

    assert dev.while_it_runs(change) == STOPPED
    assert first.returncode == -signal.SIGTERM  # it served
    assert spares[1].returncode == 0  # it was told to end, and never had its turn


def test_a_spare_that_has_died_is_told_of_as_an_app_that_has(dev: Dev) -> None:
    told: list[str] = []

    def kill() -> None:
        dev.begins()
        spare = dev.parent._spare.process
        spare.kill()
        spare.wait()
        dev.events.put(Changed((str(dev.app),)))
        told.append(dev.asked())
        dev.events.put(Changed((str(dev.app),)))
        dev.begins()
        dev.events.put(Signalled(signal.SIGTERM))

    assert dev.while_it_runs(kill) == STOPPED
    assert f"the app has ended with exit code {KILLED}" in told[0]
