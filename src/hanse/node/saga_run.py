"""One saga at work: runs its code forward, and takes it back where that fails.

The shell around `hanse.delivery.saga_machine`. A run ends when the saga does, gets stuck, or has to be left to another
process; whoever takes it up then begins with its journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, cast, final

import msgspec

from hanse.delivery.saga_machine import UNEXPECTED
from hanse.delivery.saga_rows import SagaRow, State
from hanse.kernel.codec import codec_for, encode, encode_json
from hanse.kernel.context import ambient
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Fault, Invalid, Malformed
from hanse.kernel.tasks import Tasks
from hanse.mesh.fault import fault_message
from hanse.node.saga_attempts import Attempts
from hanse.node.saga_back import WayBack
from hanse.node.saga_course import TEXT_CHARACTERS_MAX, Course
from hanse.node.saga_journal import SagaJournal, Stuck, text_of
from hanse.node.saga_logbook import SagaLogbook
from hanse.node.saga_mail import Mail
from hanse.node.saga_replay import ASKED_SECONDS, Misfit, Replay
from hanse.node.saga_rest import AtRest, Rest
from hanse.service.saga import Saga
from hanse.service.saga_method import Pinned, arguments_of


@final
class SagaRun:
    """One run of one saga."""

    def __init__(self, journal: SagaJournal, pinned: Pinned | None, mail: Mail) -> None:
        """Begin with a journal that has been opened."""
        self._journal = journal
        self._host = journal.place.host
        self._pinned = pinned
        self._mail = mail
        # A task that fails is looked at by who waits for it.
        self._tasks = Tasks(lambda _: None)
        self._course = Course(journal)
        self._attempts = Attempts(self._course)
        self._book: SagaLogbook | None = None

    @property
    def row(self) -> SagaRow:
        """Of the saga."""
        return self._journal.row

    @property
    def idle(self) -> bool:
        """Whether it waits for a moment or an event, and for nothing else."""
        book = self._book
        return book is not None and book.replay.over and bool(book.asleep) and not self._attempts.under_way

    def abort(self) -> None:
        """Have it turn back."""
        self._course.abort()

    def rest(self) -> Rest:
        """Give the run up, as it is `idle`; what it is to be taken up again for."""
        asleep = [] if self._book is None else list(self._book.asleep.values())
        waits = [wait.again() for _, wait in asleep if wait is not None]
        self._course.break_off(AtRest())
        return Rest(self.row.rev, min((until for until, _ in asleep), default=0.0), waits)

    async def run(self) -> SagaRow:
        """Work on it as long as it goes on here.

        Returns:
            Its row: over, or stuck.

        Raises:
            SagaLost, LeaseLost: Another process works on it.
            AtRest: `rest` was called.
        """
        try:
            async with self._tasks:
                await self._to_its_end()
        except Stuck as stuck:
            why = stuck.why[:TEXT_CHARACTERS_MAX]
            await self._journal.change(state="stuck", stuck_in=self.row.state, step=stuck.step, why=why, trouble="")
        finally:
            if self._book is not None:
                self._book.replay.close()
            self._course.over()
        return self.row

    async def _to_its_end(self) -> None:
        pinned, arguments = self._code()
        book = self._book = SagaLogbook(self._course, self._attempts, self._tasks, self._mail, pinned.events)
        if not book.replay.over:
            name = f"saga {self.row.name} {self.row.id} goes through its journal"
            _ = self._tasks.start(self._replayed(book.replay), name=name)
        fault = await self._forward(pinned, arguments, book)
        if fault is None:
            return
        if self.row.state == "running":
            await self._turn(fault)
        self._course.hurry.clear()
        await WayBack(self._course, book.asked).go()
        await self._end("undone")

    def _code(self) -> tuple[Pinned, Mapping[str, object]]:
        if self._pinned is None:
            row = self.row
            method = row.name.rpartition(".")[2]
            raise Stuck(
                "",
                f"it began with version {row.version} of {row.name}, which is not there any more; bring it back as a "
                f"method with `@saga(of={method!r}, version={row.version})`, and resume it",
            )
        try:
            return self._pinned, arguments_in(self._pinned, self.row.arguments)
        except (Invalid, Malformed) as fault:
            raise Stuck("", f"its arguments do not fit the code any more: {fault}") from None

    async def _replayed(self, replay: Replay) -> None:
        try:
            await replay.run()
        except Misfit as problem:
            self._course.break_off(Stuck("", str(problem)))

    async def _forward(self, pinned: Pinned, arguments: Mapping[str, object], book: SagaLogbook) -> Fault | None:
        """Run the code; what it failed with, None where it has ended well, and that is stored."""
        code = self._tasks.start(self._run_code(pinned, arguments, book), name=f"saga {self.row.name} {self.row.id}")
        await self._either(code, book.replay)
        error = None if code.cancelled() else code.exception()
        await self._drain(book.replay)
        if self.row.state == "undoing":
            if not isinstance(error, Exception):
                raise Stuck("", "it was on its way back, but its code comes to a good end now; it was changed since")
            return fault_of(error)
        if code.cancelled():
            raise Stuck("", "its code was cancelled by itself")
        if error is not None:
            return fault_of(error)
        await self._done(code.result())
        return None

    async def _run_code(self, pinned: Pinned, arguments: Mapping[str, object], book: SagaLogbook) -> object:
        _ = ambient.set(self._course.outside)
        return await pinned.body(self._journal.place.instance, Saga(book), **arguments)

    async def _either(self, code: asyncio.Task[object], replay: Replay) -> None:
        """Wait for the end of the code, or for what keeps it from coming to one."""
        broken = self._course.broken
        waited: list[asyncio.Future[Any]] = [code, broken]
        if self.row.state == "undoing":
            await self._until_broken(replay.finished())
            # All that it waits for is known: it has to fail again, as it did.
            _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=ASKED_SECONDS)
            if not code.done():
                self._course.break_off(Stuck("", "it was on its way back, but its code does not fail any more"))
        else:
            _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if broken.done():
            broken.result()

    async def _until_broken(self, what: Awaitable[object]) -> None:
        waiting, broken = self._tasks.start(_awaited(what)), self._course.broken
        _ = await asyncio.wait([waiting, broken], return_when=asyncio.FIRST_COMPLETED)
        if broken.done():
            broken.result()

    async def _drain(self, replay: Replay) -> None:
        """Let what is under way come to its end, and make sure that all that the journal holds was asked for."""
        self._course.end()
        if not replay.over:
            await self._until_broken(replay.finished())
        if self._attempts.under_way:
            await self._until_broken(self._attempts.quiet())
        if self._course.broken.done():
            self._course.broken.result()

    async def _done(self, result: object) -> None:
        try:
            told = encode_json(result).decode()
        except (TypeError, NotImplementedError) as error:
            raise Stuck("", f"what it came to cannot be kept: {error}") from None
        await self._end("done", told)

    async def _end(self, state: State, result: str = "") -> None:
        changes = {"state": state, "ended_at": self._host.now(), "result": result, "step": "", "trouble": ""}
        await self._course.insist(lambda: self._journal.change(**changes))
        fault_point("saga.ended")

    async def _turn(self, fault: Fault) -> None:
        told, why = encode(fault_message(fault, self.row.id)), str(fault)[:TEXT_CHARACTERS_MAX]
        changes = {"state": "undoing", "turned_at": self._host.now(), "fault": told, "why": why}
        await self._course.insist(lambda: self._journal.change(**changes, step="", trouble=""))
        fault_point("saga.turned")


def fault_of(error: BaseException) -> Fault:
    """The fault that the code of a saga came to, also as one of a group of tasks.

    Raises:
        Stuck: It is none that a contract knows.
    """
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    if isinstance(error, Fault) and not isinstance(error, UNEXPECTED):
        return error
    raise Stuck("", f"its code failed with {text_of(error)}") from error


def arguments_in(pinned: Pinned, arguments: str) -> Mapping[str, object]:
    """The arguments of a saga, as its code takes them.

    Raises:
        Invalid, Malformed: They are not of its types.
    """
    return msgspec.structs.asdict(codec_for(arguments_of(pinned)).decode_json(arguments.encode()))


async def _awaited(what: Awaitable[object]) -> None:
    _ = await what
