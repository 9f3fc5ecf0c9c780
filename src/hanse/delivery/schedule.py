"""Runs something at the moments of a timetable, never beside itself: what was missed is counted, not made up for.

Where the moments of a schedule are remembered, it goes on with them after a restart, and in another process: none is
run twice, and one that passed a moment ago, while nobody was there, is run late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, final

from hanse.delivery.pause import pause
from hanse.delivery.timetable import Timetable
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Fault
from hanse.kernel.host import TICK_SECONDS, Host

_log = logging.getLogger("hanse.delivery")

GRACE_SECONDS = 10.0
"""How long a schedule that stops waits for the run under way."""

RETRY_SECONDS = 1.0
"""How long a store is left alone that did not tell which moment was the last."""

LOOK_SECONDS = 30.0
"""How often a schedule that goes by the clock on the wall looks whether that was set."""


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


@final
class ScheduleRunner:
    """Calls something at each moment of a timetable.

    Example:
        >>> async def main(digest: Callable[[float], Awaitable[None]], tasks: Tasks) -> None:
        ...     runner = ScheduleRunner("mailer.digest", Period(3600.0), digest, host=Host.system())
        ...     tasks.start(runner.run())
        ...     await runner.stop()
    """

    def __init__(
        self,
        name: str,
        timetable: Timetable,
        call: Callable[[float], Awaitable[None]],
        *,
        host: Host,
        moments: Moments | None = None,
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            name: What is run, for the log.
            timetable: Its moments.
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
        self._timetable = timetable
        self._call = call
        self._host = host
        self._moments = moments
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._busy = False
        self._before = 0.0
        """The last moment that was run or missed; now, where it begins."""

    @property
    def idle(self) -> bool:
        """Whether no run is under way."""
        return not self._busy

    async def run(self) -> None:
        """Keep to the schedule until `stop`; run it once, as a task of whoever owns the runner."""
        self._task = asyncio.current_task()
        try:
            first = moment = await self._first()
            steady = _Steady(self._host, first) if self._timetable.is_steady else None
            while True:
                moment = await self._by_the_wall(moment) if steady is None else await self._by_time(steady, moment)
                if self._stopping.is_set():
                    return
                await self._run_once(moment)
                now = self._host.now() if steady is None else steady.now()
                self._before = moment
                moment, missed, _ = self._timetable.following(first, moment, now)
                self._tell_missed(missed, "it took longer than its period")
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
        while self._moments is not None and not self._stopping.is_set():
            try:
                last, now = await self._moments.last(), self._host.now()
                first = self._timetable.first(last, now)
                if first.is_begun:
                    await self._moments.note(now)
            except Fault as fault:
                _log.warning("%s cannot tell when it ran last: %s; it tries again", self.name, fault)
                await pause(self._stopping, RETRY_SECONDS)
            else:
                # What ran while the clock was ahead is not run again as it comes there, by whichever process.
                self._before = now if first.is_begun else max(last, now)
                self._tell_missed(first.missed, "nobody was there to run it")
                return first.moment
        self._before = self._host.now()
        return self._timetable.first(0.0, self._before).moment

    async def _by_time(self, steady: _Steady, moment: float) -> float:
        """Wait for a moment, however the clock on the wall is set, or for the stop."""
        while (left := steady.left(moment)) > 0.0 and not self._stopping.is_set():
            await pause(self._stopping, max(left, TICK_SECONDS))
        return moment

    async def _by_the_wall(self, moment: float) -> float:
        """Wait for a moment of the clock on the wall, or for the stop; another one, where the clock was set."""
        while (left := moment - self._host.now()) > 0.0 and not self._stopping.is_set():
            await pause(self._stopping, max(min(left, LOOK_SECONDS), TICK_SECONDS))
            now = self._host.now()
            moment, missed, begun = self._timetable.first(self._before, now)
            if missed or begun:
                self._before = now
            self._tell_missed(missed, "the clock went ahead of them, or the machine slept")
        return moment

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


class _Steady:
    """Moments of the wall clock as it was when a schedule began, by the time that has passed since."""

    def __init__(self, host: Host, first: float) -> None:
        self._monotonic = host.monotonic
        self._first = first
        # A wall clock has no more digits than that.
        self._start = host.monotonic() + round(first - host.now(), 6)

    def now(self) -> float:
        return self._first + self._monotonic() - self._start

    def left(self, moment: float) -> float:
        """Seconds until a moment."""
        return self._start + round(moment - self._first, 6) - self._monotonic()
