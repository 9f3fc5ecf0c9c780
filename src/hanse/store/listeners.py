"""Who wants to hear of commits: woken once per turn of the event loop, however many commits it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from hanse.kernel.faults import Overloaded

LISTENERS_MAX = 10_000
"""Listeners of one store at most."""


@final
class Listeners:
    """Callbacks to run soon after a commit.

    They run from the loop and not within the commit, so a callback that raises is the loop's to report and spoils
    nothing that was written.
    """

    def __init__(self) -> None:
        self._wakes: dict[object, Callable[[], None]] = {}
        self._due = False

    def __len__(self) -> int:
        return len(self._wakes)

    def add(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` from now on; the answer, called, stops it.

        Raises:
            Overloaded: `LISTENERS_MAX` are listening already.
        """
        if len(self._wakes) >= LISTENERS_MAX:
            raise Overloaded(f"{LISTENERS_MAX} listeners of one store")
        token = object()
        self._wakes[token] = wake

        def stop() -> None:
            self._wakes.pop(token, None)

        return stop

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake all of them in the next turn of the loop."""
        if self._wakes and not self._due:
            self._due = True
            loop.call_soon(self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = False
        for token in self._wakes:
            loop.call_soon(self._call, token)

    def _call(self, token: object) -> None:
        # Another one's wake may have stopped it by now.
        if wake := self._wakes.get(token):
            wake()
