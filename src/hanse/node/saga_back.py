"""The way back of a saga: what took effect is undone, the last step first, however often that takes to work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, final

import msgspec

from hanse.delivery.saga_machine import (
    SILENT,
    WAY_BACK_SECONDS,
    Verdict,
    after_settling,
    after_undo,
    way_back,
)
from hanse.delivery.saga_rows import SETTLED, UNDO, SagaStep
from hanse.kernel.codec import encode
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import DeadlineExceeded, Fault, Internal
from hanse.mesh.fault import fault_message
from hanse.node.saga_course import Course
from hanse.node.saga_journal import Stuck, text_of
from hanse.node.saga_result import result_in
from hanse.service.leases import LeaseLost
from hanse.service.logbook import Asked

TRY_SECONDS = 300.0
"""How long one attempt to undo a step may take."""


class _Judge(Protocol):
    def __call__(self, error: Exception, attempt: int, *, time_left: float) -> Verdict: ...


@final
class WayBack:
    """Takes one saga back.

    Args of the constructor:
        course: Of its run.
        asked: Its steps, as the code asked for them.
    """

    def __init__(self, course: Course, asked: Mapping[str, Asked]) -> None:
        self._course = course
        self._journal = course.journal
        self._asked = asked

    async def go(self) -> None:
        """Undo all that took effect.

        Raises:
            Stuck: Something cannot be undone.
            LeaseLost: It is another process's turn.
        """
        undoable = [name for name, asked in self._asked.items() if asked.undo is not None]
        steps = self._journal.steps
        while left := way_back(steps, undoable):
            if left[0].unsettled and f"{SETTLED}{left[0].name}" not in steps:
                await self._settle(left[0])
            else:
                await self._undo(left[0])

    async def _settle(self, step: SagaStep) -> None:
        """Ask again for a step that nobody knows the end of: under its key it takes effect at most once."""
        asked = self._asked[step.name]
        entry = self._entry(f"{SETTLED}{step.name}", "settle")
        key = f"{self._journal.row.id}/{step.name}"
        error = await self._seen_through(entry, lambda: asked.call(*asked.args, **asked.kwargs), key, after_settling)
        if error is not None:
            fault = error if isinstance(error, Fault) else Internal(text_of(error))
            told = encode(fault_message(fault, self._journal.row.id))
            failed = msgspec.structs.replace(entry, fault=told, text=text_of(error))
            _ = await self._course.insist(lambda: self._journal.note(failed))

    async def _undo(self, step: SagaStep) -> None:
        asked, name = self._asked[step.name], f"{UNDO}{step.name}"
        undo = asked.undo
        assert undo is not None
        source = self._journal.steps.get(f"{SETTLED}{step.name}", step)
        result = result_in(source, asked.result)
        key = f"{self._journal.row.id}/{name}" if asked.undo_keyed else ""
        _ = await self._seen_through(self._entry(name, "undo"), lambda: undo(result), key, after_undo)
        fault_point("saga.undone")

    def _entry(self, name: str, kind: str) -> SagaStep:
        return SagaStep(saga=self._journal.row.id, name=name, kind=kind, begun_at=self._journal.place.host.now())

    async def _seen_through(
        self, entry: SagaStep, call: Callable[[], Awaitable[object]], key: str, judge: _Judge
    ) -> Exception | None:
        """Try until it works; what it failed with where that is known for certain."""
        host, counted, tries = self._journal.place.host, 0, 0
        while True:
            tries += 1
            error = await self._tried(msgspec.structs.replace(entry, attempts=tries), call, key)
            if error is None:
                return None
            counted += not isinstance(error, SILENT)
            left = self._journal.row.turned_at + WAY_BACK_SECONDS - host.now()
            match judge(error, counted, time_left=left):
                case Verdict.AGAIN:
                    await self._course.trouble(entry.name, tries, error)
                case Verdict.STUCK:
                    raise Stuck(entry.name, text_of(error))
                case _:
                    return error

    async def _tried(self, entry: SagaStep, call: Callable[[], Awaitable[object]], key: str) -> Exception | None:
        fault_point("saga.undo_before")
        timer = asyncio.timeout(TRY_SECONDS)
        try:
            async with timer:
                _ = await self._journal.take_effect(entry, call, key=key, seconds=TRY_SECONDS)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what becomes of it is decided elsewhere
            # A commit may have outlived who waited for it.
            if await self._course.insist(lambda: self._journal.stored(entry.name)) is not None:
                return None
            return DeadlineExceeded(entry.name) if timer.expired() else error
        return None
