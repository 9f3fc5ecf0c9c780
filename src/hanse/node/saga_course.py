"""How it stands with one run of a saga, for all who have a part in it: it goes on, is to turn back, or breaks off.

Whatever does something for the saga asks here whether it still may, and how long it waits before it tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Never, TypeVar, final

from hanse.delivery.retry import next_delay
from hanse.delivery.saga_machine import SILENT, SagaAborted
from hanse.kernel.context import Context
from hanse.kernel.faults import DeadlineExceeded, Fault
from hanse.node.saga_journal import SagaJournal, text_of

T = TypeVar("T")

WAIT_SECONDS_MAX = 60.0
"""Longest wait before the wall clock is looked at again: it may jump."""

TEXT_CHARACTERS_MAX = 2_000
"""Longest text of a failure that is kept."""


@final
class Course:
    """The course of one run.

    Attributes:
        journal: What is stored of the saga.
        broken: Fails with what breaks the run off.
        hurry: Set when nobody is to wait on: the saga is to turn back, or its code has ended.
        outside: The context of the code, outside of steps.
        ending: Whether the code has ended, so that nothing new is begun for it.
    """

    def __init__(self, journal: SagaJournal) -> None:
        self.journal: SagaJournal = journal
        self.broken: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        self.hurry: asyncio.Event = asyncio.Event()
        self.outside: Context = journal.outside()
        self.ending: bool = False
        self._host = journal.place.host
        self._aborted = journal.row.abort
        self._gone = asyncio.Event()

    def abort(self) -> None:
        """Have the saga turn back at the next step, or wait for one; what is on its way back stays so."""
        if self.journal.row.state == "running":
            self._aborted = True
            self.hurry.set()

    def end(self) -> None:
        """The code has ended; whoever waits for it in vain, waits no more."""
        self.ending = True
        self.hurry.set()

    def over(self) -> None:
        """The run is over, so that code which hangs is let go."""
        self.ending = True
        self._gone.set()
        _ = self.broken.cancel() if not self.broken.done() else self.broken.exception()

    def break_off(self, error: BaseException) -> None:
        """End the run with an error; the first one counts."""
        if not self.broken.done():
            self.broken.set_exception(error)

    def stop(self) -> Fault | None:
        """Why the saga is to turn back, if it is."""
        row = self.journal.row
        if self._aborted:
            return SagaAborted()
        return DeadlineExceeded(row.name) if row.due <= self._host.now() else None

    async def hang(self) -> Never:
        """Keep the code from going on; it is cancelled when the run ends."""
        _ = await self._gone.wait()
        raise asyncio.CancelledError

    async def never_anew(self) -> None:
        """Return where the code may begin something; on its way back a saga's code goes as far as it went."""
        if self.journal.row.state == "undoing" or self.ending:
            await self.hang()

    async def insist(self, what: Callable[[], Awaitable[T]]) -> T:
        """Do something with the store that has to be done, for as long as it is away and the saga is this process's."""
        tries = 0
        while True:
            try:
                return await what()
            except SILENT as fault:
                tries += 1
                await asyncio.sleep(max(0.001, next_delay(tries + 1, fault, self._host.chance.random())))

    async def tag(self) -> None:
        """Store what the code has tagged its story with: its steps carry that on, and whoever lists sagas sees it."""
        if (tags := self.outside.tags) != self.journal.row.tags:
            await self.insist(lambda: self.journal.change(tags=tags))

    async def trouble(self, name: str, tries: int, error: Exception) -> None:
        """Wait before the next attempt at something, and let everybody see why."""
        if tries > 1:
            told = f"try {tries}: {text_of(error)}"[:TEXT_CHARACTERS_MAX]
            await self.insist(lambda: self.journal.change(step=name, trouble=told))
        delay = next_delay(tries, error, self._host.chance.random())
        try:
            async with asyncio.timeout(min(delay, WAIT_SECONDS_MAX)):
                _ = await self.hurry.wait()
        except TimeoutError:
            pass
