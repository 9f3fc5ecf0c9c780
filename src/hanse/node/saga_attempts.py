"""Does the steps of one run of a saga: each is tried until its end is known, and that is stored.

A step that has begun comes to its end even where the code waits no more: only then is it known what has to be undone.
"""

from __future__ import annotations

import asyncio
from typing import cast, final

import msgspec

from hanse.delivery.saga_machine import SILENT, Verdict, after_step
from hanse.delivery.saga_rows import SagaStep
from hanse.kernel.codec import encode
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import DeadlineExceeded, Fault
from hanse.mesh.fault import fault_message
from hanse.node.saga_course import TEXT_CHARACTERS_MAX, Course
from hanse.node.saga_journal import SagaLost, Stuck, text_of
from hanse.service.leases import LeaseLost
from hanse.service.logbook import Asked


@final
class Attempts:
    """Tries the steps of one run.

    Attributes:
        under_way: How many of them are being done.
    """

    def __init__(self, course: Course) -> None:
        self.under_way: int = 0
        self._course = course
        self._journal = course.journal
        self._host = course.journal.place.host
        self._quiet = asyncio.Event()

    async def quiet(self) -> None:
        """Wait until none is being done."""
        while self.under_way:
            self._quiet.clear()
            _ = await self._quiet.wait()

    async def do(self, asked: Asked, opened: SagaStep | None) -> SagaStep | None:
        """Do a step until its end is known; that is stored when this returns. None where the saga ends for it."""
        self.under_way += 1
        try:
            await self._course.tag()
            if asked.timeout is not None and opened is None:
                opened = await self.open(asked.name, "step", asked.timeout, asked.digest)
            return await self._seen_through(asked, opened)
        except Exception as error:  # noqa: BLE001 - it is the end of this run, and no business of the code
            self._course.break_off(error)
            return None
        finally:
            self.under_way -= 1
            self._quiet.set()

    async def open(self, name: str, kind: str, seconds: float, digest: str = "") -> SagaStep:
        """Store that something has begun, which may take so long."""
        saga, now = self._journal.row.id, self._host.now()
        return await self.noted(
            SagaStep(saga=saga, name=name, kind=kind, closed=False, begun_at=now, until=now + seconds, digest=digest)
        )

    async def closed(
        self, step: SagaStep, fault: Fault, *, unsettled: bool = False, attempts: int | None = None
    ) -> SagaStep:
        """Store that a step has failed."""
        return await self.noted(
            msgspec.structs.replace(
                step,
                closed=True,
                fault=encode(fault_message(fault, self._journal.row.id)),
                unsettled=unsettled,
                text=str(fault)[:TEXT_CHARACTERS_MAX],
                attempts=step.attempts if attempts is None else attempts,
            )
        )

    async def noted(self, step: SagaStep) -> SagaStep:
        """Store what is known of a step, for as long as that takes; where the saga is another's, code hangs here."""
        try:
            return await self._course.insist(lambda: self._journal.note(step))
        except (SagaLost, LeaseLost) as error:
            self._course.break_off(error)
            await self._course.hang()

    async def _seen_through(self, asked: Asked, opened: SagaStep | None) -> SagaStep:
        row, begun = self._journal.row, self._host.now()
        until = row.due if opened is None else min(opened.until, row.due)
        step = SagaStep(saga=row.id, name=asked.name, kind="step", begun_at=begun, digest=asked.digest)
        keyed, counted, tries = asked.operation is not None, 0, 0
        # Who worked on the saga before may have asked, and died before it heard.
        silent = self._journal.resumed
        while True:
            stop = self._course.stop() or (DeadlineExceeded(asked.name) if until <= self._host.now() else None)
            if stop is not None:
                return await self.closed(step, stop, unsettled=silent and keyed)
            tries += 1
            error = await self._tried(asked, msgspec.structs.replace(step, attempts=tries), until - self._host.now())
            if isinstance(error, SagaStep):
                return error
            silent = isinstance(error, SILENT)
            counted += not silent
            left = 0.0 if self._course.ending else until - self._host.now()
            match after_step(error, counted, time_left=left, keyed=keyed):
                case Verdict.STUCK:
                    raise Stuck(asked.name, text_of(error))
                case Verdict.AGAIN:
                    await self._course.trouble(asked.name, tries, error)
                case verdict:
                    unsettled = verdict is Verdict.UNSETTLED
                    return await self.closed(step, cast("Fault", error), unsettled=unsettled, attempts=tries)

    async def _tried(self, asked: Asked, step: SagaStep, left: float) -> SagaStep | Exception:
        """One attempt at a step: what is stored of it then, or what it failed with."""
        fault_point("saga.step_before")
        timer = asyncio.timeout(left)
        key = f"{self._journal.row.id}/{asked.name}" if asked.operation is not None else ""
        try:
            async with timer:
                done = await self._journal.take_effect(
                    step, lambda: asked.call(*asked.args, **asked.kwargs), key=key, seconds=left
                )
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what becomes of it is decided elsewhere
            # A commit may have outlived who waited for it.
            own = await self._course.insist(lambda: self._journal.stored(asked.name))
            return own or (DeadlineExceeded(asked.name) if timer.expired() else error)
        fault_point("saga.step_committed")
        return done
