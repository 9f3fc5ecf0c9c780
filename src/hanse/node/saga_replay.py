"""Has the code of a saga go once more through what its journal holds, in the order in which that happened.

The code is run from its beginning, and asks for its steps; each is told what it came to when all that ended earlier
has been told. So code whose steps run side by side goes the way that it went, whoever was first then. What does not fit
(the journal goes on with a step that the code does not ask for) is noticed, and ends the run: it is never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import final

from hanse.delivery.saga_machine import in_order
from hanse.delivery.saga_rows import SagaStep

ASKED_SECONDS = 10.0
"""How long the code may take from one step to the next, while it goes through what has been."""

TURNS = 10
"""Turns of the loop that the code has after each step, so that whoever waited for it has gone on before the next."""


class Misfit(Exception):
    """The journal of a saga and its code do not fit together."""


@final
class Replay:
    """Tells steps what they came to, in their old order."""

    def __init__(self, steps: Mapping[str, SagaStep]) -> None:
        self._left = {step.name: step for step in in_order(steps.values())}
        self._asked: dict[str, asyncio.Event] = {name: asyncio.Event() for name in self._left}
        self._told: dict[str, asyncio.Event] = {name: asyncio.Event() for name in self._left}
        self._asking: dict[str, None] = {}
        self._over = asyncio.Event()
        if not self._left:
            self._over.set()

    @property
    def over(self) -> bool:
        """Whether all has been told."""
        return self._over.is_set()

    async def run(self) -> None:
        """Tell all of it.

        Raises:
            Misfit: The code does not ask for what comes next.
        """
        for name in list(self._left):
            try:
                async with asyncio.timeout(ASKED_SECONDS):
                    _ = await self._asked[name].wait()
            except TimeoutError:
                raise Misfit(self._problem(name)) from None
            self._told[name].set()
            del self._left[name]
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self._over.set()

    async def finished(self) -> None:
        """Wait until all has been told."""
        _ = await self._over.wait()

    def close(self) -> None:
        """Let whoever waits for a turn go: the run is over."""
        for event in (*self._told.values(), self._over):
            event.set()

    async def turn(self, name: str) -> None:
        """Wait until it is a step's turn to be told what it came to; for one that is new, until all others were."""
        if name not in self._asked:
            self._asking[name] = None
            _ = await self._over.wait()
            return
        self._asked[name].set()
        _ = await self._told[name].wait()

    def _problem(self, name: str) -> str:
        asks = f"asks for {', '.join(self._asking)}" if self._asking else "asks for nothing"
        return (
            f"the journal goes on with {name}, but the code {asks}; it was changed since: give the new code a new "
            f"`@saga(version=...)`, and keep the old one as another method, with `of=`"
        )
