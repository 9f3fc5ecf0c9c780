"""Runs something once per period, without overtaking itself: what was missed is counted, not made up for.

Where the moments of a schedule are remembered, it goes on with them after a restart, and in another process: none is
run twice, and one that passed a moment ago, while nobody was there, is run late.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, final

from hanse.delivery.pause import pause
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Fault
from hanse.kernel.host import TICK_SECONDS, Host

_log = logging.getLogger("hanse.delivery")

GRACE_SECONDS = 10.0
"""How long a schedule that stops waits for the run under way."""

LATE_SECONDS = 60.0
"""How late a moment is run that passed while nobody was there, and at most half a period; what is older is missed."""

RETRY_SECONDS = 1.0
"""How long a store is left alone that did not tell which moment was the last."""


class Moments(Protocol):
    """Remembers the moments of one schedule."""

    async def last(self) -> float:
        """The last one that was run, or let go, in seconds of the wall clock; 0 for none.

        Raises:
            Fault: It cannot be read.
        """
        ...

    async def note(self, moment: float) -> None:
        """Remember one.

        Raises:
            Fault: It cannot be written.
        """
        ...


def next_run(start: float, period: float, now: float) -> float:
    """The first moment of a schedule after now: `start` and a whole number of periods, at least one.

    Example:
        >>> next_run(100.0, 60.0, 100.0), next_run(100.0, 60.0, 160.0), next_run(100.0, 60.0, 285.5)
        (160.0, 220.0, 340.0)
    """
    following = start + (math.floor(max(0.0, now - start) / period) + 1) * period
    # Rounding may have put it on the moment that has just come.
    return following if following > now else following + period


def first_run(last: float, period: float, now: float) -> tuple[float, int]:
    """The moment with which a schedule goes on, which may have passed just now, and how many were missed before.

    Args:
        last: The last moment that was run; 0 for none. One that is further ahead than a period tells of a clock that
            was wrong, and counts as none.
        period: Seconds between moments.
        now: By the same clock.

    Example:
        >>> first_run(0.0, 600.0, 100.0), first_run(100.0, 600.0, 400.0)
        ((700.0, 0), (700.0, 0))
        >>> first_run(100.0, 600.0, 705.0), first_run(100.0, 600.0, 900.0), first_run(100.0, 600.0, 1905.0)
        ((700.0, 0), (1300.0, 1), (1900.0, 2))
    """
    if last <= 0.0 or last > now + period:
        return now + period, 0
    following = next_run(last, period, now)
    passed = round((following - last) / period) - 1
    latest = following - period
    if passed and now - latest <= min(LATE_SECONDS, period / 2):
        return latest, passed - 1
    return following, passed


@final
class EveryRunner:
    """Calls something once per period; the first time after one period.

    Example:
        >>> async def main(digest: Callable[[float], Awaitable[None]], tasks: Tasks) -> None:
        ...     runner = EveryRunner("mailer.digest", 3600.0, digest, host=Host.system())
        ...     tasks.start(runner.run())
        ...     await runner.stop()
    """

    def __init__(
        self,
        name: str,
        period: float,
        call: Callable[[float], Awaitable[None]],
        *,
        host: Host,
        moments: Moments | None = None,
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            name: What is run, for the log.
            period: Seconds from one moment of the schedule to the next.
            call: What to run: a unit of work of its own, given the moment in seconds of the wall clock. Where moments
                are remembered it remembers that one with its effects; of a run that failed the runner does.
            host: Its clocks.
            moments: Remembers them; by default nobody does, and each start begins anew.
        """
        self.name: str = name
        self.missed: int = 0
        """Moments that passed while a run was under way, or while nobody was there."""
        self.failures: int = 0
        """Runs that failed."""
        self._period = period
        self._call = call
        self._host = host
        self._moments = moments
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
        try:
            first = await self._first()
            # A wall clock has no more digits than that.
            start = due = self._host.monotonic() + round(first - self._host.now(), 6)
            while True:
                await self._wait_until(due)
                if self._stopping.is_set():
                    return
                await self._run_once(first + due - start)
                following = next_run(start, self._period, self._host.monotonic())
                self._tell_missed(round((following - due) / self._period) - 1, "it took longer than its period")
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

    async def _first(self) -> float:
        """The moment to begin with, in seconds of the wall clock."""
        moments = self._moments
        while moments is not None and not self._stopping.is_set():
            try:
                last, now = await moments.last(), self._host.now()
                first, missed = first_run(last, self._period, now)
                if first - self._period != last and not missed:
                    await moments.note(first - self._period)
            except Fault as fault:
                _log.warning("%s cannot tell when it ran last: %s; it tries again", self.name, fault)
                await pause(self._stopping, RETRY_SECONDS)
            else:
                self._tell_missed(missed, "nobody was there to run it")
                return first
        return self._host.now() + self._period

    async def _wait_until(self, moment: float) -> None:
        """Wait for a moment of the host's clock, which the loop's may run ahead of, or for the stop."""
        left = moment - self._host.monotonic()
        while left > 0.0 and not self._stopping.is_set():
            await pause(self._stopping, max(left, TICK_SECONDS))
            left = moment - self._host.monotonic()

    async def _run_once(self, moment: float) -> None:
        fault_point("schedule.before_run")
        self._busy = True
        try:
            await self._call(moment)
        except Exception:  # noqa: BLE001 - the schedule outlives whatever a run raises
            self.failures += 1
            _log.exception("%s failed; it runs again with the next period", self.name)
            await self._let_go(moment)
        finally:
            self._busy = False
        fault_point("schedule.after_run")

    async def _let_go(self, moment: float) -> None:
        """Remember the moment of a run that failed, so that nobody repeats it before the next."""
        if self._moments is not None:
            try:
                await self._moments.note(moment)
            except Fault as fault:
                _log.warning("that %s ran is not remembered: %s; who begins anew may repeat it", self.name, fault)

    def _tell_missed(self, count: int, why: str) -> None:
        if count > 0:
            self.missed += count
            _log.warning("%d runs of %s were missed, as %s", count, self.name, why)
