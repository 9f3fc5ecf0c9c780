"""Parts of an app, each in a process of its own, which is killed at a fault point again and again."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.planted.unmeasured import unmeasured

from .trapped import AT, HOW, TOLD

HERE = Path(__file__).parent
APP = HERE / "shop.py"

STOPS = ("node.draining", "node.drained")
"""Points that only a process passes that is told to stop."""

REACH_SECONDS_MAX = 120.0
"""For a process to come to the point at which it is killed, with enough to do."""

START_SECONDS_MAX = 60.0
SERVES = re.compile(r"serving \S+ at http://([0-9.:]+)")
LATE = re.compile(r"^hanse_store_late_total\{.*\} (\d+)", re.MULTILINE)
LOOK_SECONDS = 0.05


class Dose(NamedTuple):
    """A kill: at a point, as it is passed for a given time."""

    point: str
    nth: int = 1


class Part:
    """One part of the app, from life to life.

    Args of the constructor:
        name: What it hosts, and a number behind a `#` where several host the same.
        folder: Where it runs, and leaves what it says.
        options: More of the command line.
        within: What its command goes behind, such as that of a mount namespace.
    """

    def __init__(self, name: str, folder: Path, options: Sequence[str], within: Sequence[str] = ()) -> None:
        self.name = name
        self.killed: list[str] = []
        self._folder = folder
        self._told = folder / f"{name}.killed"
        self._command = [
            *(*within, sys.executable, str(HERE / "trapped.py"), "run", str(APP), "--port", "0"),
            *("--services", name.partition("#")[0], "--log-format", "text", *options),
        ]
        self._process: Process | None = None

    async def start(self, dose: Dose | None = None, how: str = "SIGKILL") -> bool:
        """Start it, trapped or not; whether it was ready before it died."""
        environment = unmeasured()
        if dose is not None:
            environment |= {AT: f"{dose.point}:{dose.nth}", TOLD: str(self._told), HOW: how}
        with (self._folder / f"{self.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._folder, env=environment, stdout=PIPE, stderr=log
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS_MAX):
            return bool(await self._process.stdout.readline())

    async def take(self, dose: Dose) -> None:
        """Start it with a trap, and return when it has died of that.

        Raises:
            AssertionError: It did not come to that point, or died of something else.
        """
        ready = await self.start(dose)
        assert self._process is not None
        if ready and dose.point in STOPS:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(REACH_SECONDS_MAX):
                status = await self._process.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} did not come to {dose.point}\n{self.log()}") from None
        told = self._told.read_text().splitlines() if self._told.exists() else []
        assert (status, told[len(self.killed) :]) == (-signal.SIGKILL, [dose.point]), self.log()
        self.killed = told

    async def pause(self, dose: Dose) -> None:
        """Start it with a trap, and return when it stands still there.

        Raises:
            AssertionError: It did not come to that point.
        """
        _ = await self.start(dose, "SIGSTOP")
        known = len(self.killed)
        for _ in range(int(REACH_SECONDS_MAX / LOOK_SECONDS)):
            told = self._told.read_text().splitlines() if self._told.exists() else []
            if told[known:]:
                self.killed = told
                return
            await asyncio.sleep(LOOK_SECONDS)  # nothing tells of it
        raise AssertionError(f"{self.name} did not come to {dose.point}\n{self.log()}")

    @property
    def lives(self) -> bool:
        """Whether it runs, or stands still."""
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self) -> None:
        """Kill it, where it runs."""
        if self._process is not None and self.lives:
            self._process.kill()
            _ = await self._process.wait()

    def late(self) -> int:
        """How many commits of this life its store has refused as late, as its metrics have it."""
        served = SERVES.findall((self._folder / f"{self.name}.log").read_text())
        with closing(HTTPConnection(served[-1], timeout=START_SECONDS_MAX)) as asking:
            asking.request("GET", "/metrics")
            return sum(int(count) for count in LATE.findall(asking.getresponse().read().decode()))

    def told(self, what: re.Pattern[str]) -> int:
        """How many lines of what it said have something in them."""
        file = self._folder / f"{self.name}.log"
        return sum(what.search(line) is not None for line in file.read_text().splitlines())

    def log(self) -> str:
        """The last that it said."""
        return (self._folder / f"{self.name}.log").read_text()[-4_000:]
