"""Signals that stop a process: the first asks, the second forces."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Self, cast

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stops:
    """Listens for the signals while it is entered, on the running loop.

    Attributes:
        asked: Set by the first signal.
        forced: Set by the second.
    """

    def __init__(self) -> None:
        self.asked: asyncio.Event = asyncio.Event()
        self.forced: asyncio.Event = asyncio.Event()
        self._number = 0

    @property
    def why(self) -> str:
        """The signal that came last, and whether it forced; empty for none."""
        name = signal.Signals(self._number).name if self._number else ""
        return f"{name} once more" if self.forced.is_set() else name

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            # Outside the main thread, and on Windows, somebody else has to stop us.
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                loop.add_signal_handler(number, self.came, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                loop.remove_signal_handler(number)

    def came(self, number: int) -> None:
        """A signal came."""
        self._number = number
        (self.forced if self.asked.is_set() else self.asked).set()

    async def unless_forced(self, work: Coroutine[object, object, object]) -> int:
        """Do the work, but give it up at the second signal; the process's exit code. What the work raised is raised."""
        try:
            async with asyncio.TaskGroup() as group:
                working = group.create_task(work)
                forcing = group.create_task(self.forced.wait())
                await asyncio.wait((working, forcing), return_when=asyncio.FIRST_COMPLETED)
                given_up = not working.done()
                working.cancel()
                forcing.cancel()
        except BaseExceptionGroup as group_of_one:
            raise innermost(group_of_one) from None
        return 128 + self._number if given_up else 0


def innermost(error: BaseException) -> BaseException:
    """What went wrong, without the groups that tasks wrap it in: a fault has to arrive as its own class."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
