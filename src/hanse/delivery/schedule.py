"""Runs something once per period, without overtaking itself: what was missed is counted, not made up for."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import final

from hanse.delivery.pause import pause
from hanse.kernel.fault_point import fault_point
from hanse.kernel.host import TICK_SECONDS, Host

_log = logging.getLogger("hanse.delivery")

GRACE_SECONDS = 10.0
"""How long a schedule that stops waits for the run under way."""


def next_run(start: float, period: float, now: float) -> float:
    """The first moment of a schedule after now: `start` and a whole number of periods, at least one.

    Example:
        >>> next_run(100.0, 60.0, 100.0), next_run(100.0, 60.0, 160.0), next_run(100.0, 60.0, 285.5)
        (160.0, 220.0, 340.0)
    """
    following = start + (math.floor(max(0.0, now - start) / period) + 1) * period
    # Rounding may have put it on the moment that has just come.
    return following if following > now else following + period


@final
class EveryRunner:
    """Calls something once per period; the first time after one period.

    Example:
        >>> async def main(digest: Callable[[], Awaitable[None]], tasks: Tasks) -> None:
        ...     runner = EveryRunner("mailer.digest", 3600.0, digest, host=Host.system())
        ...     tasks.start(runner.run())
        ...     await runner.stop()
    """

    def __init__(self, name: str, period: float, call: Callable[[], Awaitable[None]], *, host: Host) -> None:
        """Get ready; `run` does the work.

        Args:
            name: What is run, for the log.
            period: Seconds from one moment of the schedule to the next.
            call: What to run: a unit of work of its own.
            host: Its clock.
        """
        self.name: str = name
        self.missed: int = 0
        """Moments that passed while a run was under way."""
        self.failures: int = 0
        """Runs that failed."""
        self._period = period
        self._call = call
        self._host = host
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._busy = False

    @property
    def idle(self) -> bool:
        """Whether no run is under way."""
        return not self._busy

    async def run(self) -> None:
        """Keep to the schedule until `stop`; run it once, as a task of whoever owns the runner."""
        self._task = asyncio.current_task()
        start = self._host.monotonic()
        due = next_run(start, self._period, start)
        try:
            while True:
                await self._wait_until(due)
                if self._stopping.is_set():
                    return
                await self._run_once()
                following = next_run(start, self._period, self._host.monotonic())
                self._tell_missed(round((following - due) / self._period) - 1)
                due = following
        finally:
            self._ended.set()

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Begin no other run, and wait up to `grace` seconds for the one under way; then it is cancelled."""
        self._stopping.set()
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._ended.wait()
        if not self._ended.is_set():
            self._task.cancel()
            await self._ended.wait()

    async def _wait_until(self, moment: float) -> None:
        """Wait for a moment of the host's clock, which the loop's may run ahead of, or for the stop."""
        left = moment - self._host.monotonic()
        while left > 0.0 and not self._stopping.is_set():
            await pause(self._stopping, max(left, TICK_SECONDS))
            left = moment - self._host.monotonic()

    async def _run_once(self) -> None:
        fault_point("schedule.before_run")
        self._busy = True
        try:
            await self._call()
        except Exception:  # noqa: BLE001 - the schedule outlives whatever a run raises
            self.failures += 1
            _log.exception("%s failed; it runs again with the next period", self.name)
        finally:
            self._busy = False
        fault_point("schedule.after_run")

    def _tell_missed(self, count: int) -> None:
        if count > 0:
            self.missed += count
            _log.warning("%s took longer than its period: %d runs were missed", self.name, count)
