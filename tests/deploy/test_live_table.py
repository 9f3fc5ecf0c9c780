"""The table of `hanse up`, as somebody at a terminal sees it: over a real one."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import termios
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path

import pytest

from hanse.deploy.control_client import asked
from hanse.deploy.control_words import Ask
from hanse.deploy.home import Home

from .systems import HANSE, SETTINGS, WAIT_SECONDS, hanse, write

_PART = re.compile(r"\x1b\[(\d*)([A-Za-z])|(\r?\n)|(\r)|([^\x1b\r\n]+)")


class Terminal:
    """A terminal, and what is to be seen on it; it knows what `hanse up` says to one, and nothing else."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.master, slave = os.openpty()
        self.lines = [""]
        self._row = 0
        self._column = 0
        self._left = ""
        tty.setraw(slave)
        self.resize(100, 40)
        self.process = subprocess.Popen(
            [*HANSE, "up"], cwd=folder, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, **variables}
        )
        os.close(slave)

    def resize(self, columns: int, rows: int) -> None:
        _ = ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, seen: Callable[[list[str]], bool]) -> None:
        """Read until this is to be seen."""
        while not seen(self.lines):
            ready, _, _ = select.select([self.master], [], [], WAIT_SECONDS)
            assert ready, "nothing more comes; to be seen is:\n" + "\n".join(self.lines)
            self._take(os.read(self.master, 65536).decode())

    def rest(self) -> None:
        """Read to the end."""
        with suppress(OSError):  # there is nobody at the other end any more
            while data := os.read(self.master, 65536):
                self._take(data.decode())

    def _take(self, text: str) -> None:
        text = self._left + text
        cut = text.rfind("\x1b")
        # A sequence may be cut off in the middle.
        cut = cut if cut >= 0 and not _PART.match(text[cut:]) else len(text)
        self._left = text[cut:]
        for match in _PART.finditer(text[:cut]):
            number, command, line, start, plain = match.groups()
            if plain:
                self._plain(plain)
            elif line:
                self._row, self._column = self._row + 1, 0
            elif start:
                self._column = 0
            elif command == "A":
                self._row -= int(number or 1)
            elif command == "J":
                del self.lines[self._row + 1 :]
                self.lines[self._row] = self.lines[self._row][: self._column]
            while len(self.lines) <= self._row:
                self.lines.append("")

    def _plain(self, text: str) -> None:
        while len(self.lines) <= self._row:
            self.lines.append("")
        line = self.lines[self._row].ljust(self._column)
        self.lines[self._row] = line[: self._column] + text + line[self._column + len(text) :]
        self._column += len(text)


@contextmanager
def terminal(folder: Path, **variables: str) -> Generator[Terminal]:
    shown = Terminal(write(folder, SETTINGS), variables)
    try:
        yield shown
    finally:
        with suppress(ProcessLookupError):
            shown.process.kill()
        _ = shown.process.wait(WAIT_SECONDS)
        os.close(shown.master)


def table(lines: list[str]) -> list[list[str]]:
    """The rows of the last lines, if they are the table."""
    headings = [number for number, line in enumerate(lines) if line.startswith("service ")]
    return [line.split() for line in lines[headings[-1] + 1 :]] if headings else []


def shows(service: str, state: str, instances: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(row[:3] == [service, state, instances] for row in table(lines))


def test_a_table_of_services_stays_below_what_is_said(tmp_path: Path) -> None:
    with terminal(tmp_path) as shown:
        shown.until(shows("web", "ready", "1/1"))
        shown.until(shows("store", "ready", "1/1"))
        shown.until(lambda lines: any("store-1 | serving as store-1" in line for line in lines))
        shown.until(lambda lines: any(len(row) > 5 and row[5] != "0" for row in table(lines)))
        assert sum(line.startswith("service ") for line in shown.lines) == 1, shown.lines
        assert hanse(tmp_path, "scale", "web=2").returncode == 0
        shown.until(shows("web", "ready", "2/2"))
        shown.process.send_signal(signal.SIGINT)
        shown.until(lambda lines: any(line == "hanse: all has ended" for line in lines))
        assert shown.process.wait(WAIT_SECONDS) == 0
        shown.rest()
        assert table(shown.lines) == [], "the table goes with the system"


def test_a_terminal_that_becomes_smaller_gets_a_smaller_table(tmp_path: Path) -> None:
    with terminal(tmp_path) as shown:
        shown.until(shows("web", "ready", "1/1"))
        before = len(shown.lines)
        shown.resize(30, 40)
        shown.until(lambda lines: max(map(len, lines[-3:])) <= 30 and lines[-3].startswith("service "))
        assert len(shown.lines) >= before - 3


def test_a_terminal_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    with terminal(tmp_path):
        home = Home(tmp_path)
        assert hanse(tmp_path, "wait", "-q").returncode == 0
        for number in (2, 3, 4):
            assert hanse(tmp_path, "scale", f"web={number}").returncode == 0
            assert hanse(tmp_path, "wait", "-q").returncode == 0
        web = [one for one in asked(home, Ask("status")).instances if one.service == "web"]
        assert [one.phase for one in web] == ["ready"] * 4


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}])
def test_a_terminal_that_cannot_move_gets_plain_lines(tmp_path: Path, variables: dict[str, str]) -> None:
    with terminal(tmp_path, **variables) as shown:
        shown.until(lambda lines: any("all is ready" in line for line in lines))
        assert table(shown.lines) == []
