"""What has to hold in one world, and what did not: always, in the end, and what its observers found."""

from __future__ import annotations

import asyncio
from typing import final

from hanse.sim.audience import Audience
from hanse.sim.chance import Draws
from hanse.sim.check import VIOLATIONS_MAX, Check, Violation, addressless, broken
from hanse.sim.loop import Loop
from hanse.sim.machine import until
from hanse.sim.trace import Trace

CHECK_SECONDS = 0.05
"""What always has to hold is looked at so soon after a commit."""

EVENTUALLY_SECONDS = 300.0
"""How long what has to hold in the end may take to, once the world has healed."""

LOOK_SECONDS_MAX = 2.0
"""How long it takes at most from one look at what has to hold in the end to the next."""

OBSERVE_SECONDS = 60.0
"""How long the observers may take in the end to see what there is to see."""

POLL_SECONDS = 0.1
"""How often they are asked whether they have."""


@final
class Verdict:
    """What is looked at in a world, and what was found.

    Attributes:
        violations: What did not hold.
        reached: Names of what happened at least once.
        failed: Set once something did not hold.
    """

    def __init__(self, loop: Loop, trace: Trace, seed: int, observers: Audience) -> None:
        """Nothing has to hold yet but what observers look at.

        Args:
            loop: The world's clock.
            trace: Told of each violation.
            seed: Decides when looks are taken.
            observers: Who looks on.
        """
        self._loop = loop
        self._trace = trace
        self._seed = seed
        self._observers = observers
        self._always: list[tuple[str, Check]] = []
        self._eventually: list[tuple[str, Check]] = []
        self._checking = False
        self.violations: list[Violation] = []
        self.reached: set[str] = set()
        self.failed: asyncio.Event = asyncio.Event()

    def always(self, name: str, check: Check) -> None:
        """See `World.always`."""
        self._always.append((name, check))

    def eventually(self, name: str, check: Check) -> None:
        """See `World.eventually`."""
        self._eventually.append((name, check))

    def violate(self, check: str, detail: str) -> None:
        """Something does not hold."""
        detail = addressless(detail)
        self._trace.add(self._loop.now, "", "violation", f"{check}: {detail}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(check, detail, self._loop.now))
        self.failed.set()

    def committed(self) -> None:
        """Rows have changed: what always has to hold is looked at soon, once for all that changes until then."""
        if self._always and not self._checking:
            self._checking = True
            _ = self._loop.at(self._loop.now + CHECK_SECONDS, self._check_always)

    async def conclude(self) -> None:
        """Wait for what has to hold in the end, and have the observers take their last look."""
        for name, check in self._eventually:
            if not await self._comes_true(check):
                self.violate(name, broken(check) or "it does not hold for long")
        self._check_always()
        for name, check in self._eventually:
            if (wrong := broken(check)) is not None and not self.violations:
                self.violate(name, f"it came true, and did not stay so: {wrong}")
        idle = [observer.idle for observer in self._observers]
        _ = await until(lambda: all(seen() for seen in idle), every=POLL_SECONDS, limit=OBSERVE_SECONDS)
        for observer in self._observers:
            observer.finish()

    async def _comes_true(self, check: Check) -> bool:
        """Look at odd times, so that nothing which comes and goes in step with the looks is missed for ever."""
        draws, end = Draws(self._seed, "looks"), self._loop.now + EVENTUALLY_SECONDS
        while broken(check) is not None:
            if self._loop.now >= end:
                return False
            await asyncio.sleep(draws.between(0.0, LOOK_SECONDS_MAX))
        return True

    def _check_always(self) -> None:
        self._checking = False
        for name, check in self._always:
            wrong = broken(check)
            if wrong is not None:
                self.violate(name, wrong)
