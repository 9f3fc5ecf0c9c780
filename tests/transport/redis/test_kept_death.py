"""What publishes, what takes and what keeps events, each killed amid them: nothing is lost, and the order holds."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.planted.unmeasured import unmeasured

from .keeping import EVENTS
from .server import Server, running

LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.01
KILLS = 3


class Process:
    """One that publishes or takes, started again as it was."""

    def __init__(self, what: str, server: Server, app: str, file: Path) -> None:
        script = str(Path(__file__).with_name("keeping.py"))
        self._command = [sys.executable, script, what, server.url, app, str(file)]
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen(self._command, env=unmeasured())

    def signal(self, number: signal.Signals) -> None:
        assert self._running is not None
        self._running.send_signal(number)

    def kill(self) -> None:
        if self._running is not None:
            self._running.send_signal(signal.SIGCONT)
            self._running.kill()
            self._running.wait()

    def restart(self) -> None:
        self.kill()
        self.start()


class Story:
    """A publisher, two who take turns, and what was handled, in the order in which it was."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._file = folder / "handled"
        self.publisher = Process("publish", server, "shop", folder / "published")
        self.takers = [Process("take", server, "shop", self._file) for _ in range(2)]

    def start(self) -> None:
        for one in (*self.takers, self.publisher):
            one.start()

    def end(self) -> None:
        for one in (*self.takers, self.publisher):
            one.kill()

    def handled(self) -> list[int]:
        """What was handled, without what was handled before."""
        lines = self._file.read_bytes().split() if self._file.exists() else []
        return [*dict.fromkeys(map(int, lines))]

    async def until(self, count: int) -> list[int]:
        """Wait until so many were handled."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(handled := self.handled()) < count:  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)  # nothing tells of it
        return handled


@pytest.fixture
def story(tmp_path: Path) -> Generator[Story]:
    with running(tmp_path, "--appendonly", "yes") as server, started(Story(server, tmp_path)) as one:
        yield one


@contextmanager
def started(story: Story) -> Generator[Story]:
    story.start()
    try:
        yield story
    finally:
        story.end()


@pytest.mark.parametrize("victim", ["publisher", "taker", "server"])
async def test_a_kill_loses_nothing_and_keeps_the_order(story: Story, victim: str) -> None:
    for turn in range(KILLS):
        _ = await story.until(EVENTS * (turn + 1) // (KILLS + 2))
        taker = story.takers[turn % len(story.takers)]
        restart = {"publisher": story.publisher.restart, "server": story.server.restart, "taker": taker.restart}
        await asyncio.to_thread(restart[victim])
    assert await story.until(EVENTS) == [*range(EVENTS)]


async def test_one_that_stood_still_past_its_turn_spoils_nothing(story: Story) -> None:
    _ = await story.until(EVENTS // 10)
    before, story.takers = story.takers, [*story.takers]
    for one in before:
        one.signal(signal.SIGSTOP)  # one of them has the turn; the next who comes has to wait until it is over
    third = Process("take", story.server, "shop", story._file)
    story.takers.append(third)
    third.start()
    _ = await story.until(len(story.handled()) + 1)
    for one in before:
        one.signal(signal.SIGCONT)
    assert await story.until(EVENTS) == [*range(EVENTS)]
