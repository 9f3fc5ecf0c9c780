"""The logbook of one run of a saga: what its code asks for is done, or told from the journal where it has been.

What of the journal does not fit what the code asks for ends the run, and the code hangs: it is never told a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast, final

import msgspec

from hanse.contract.model import Event
from hanse.delivery.saga_machine import misfit
from hanse.delivery.saga_rows import SagaStep
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import DeadlineExceeded, Invalid, Malformed, Misdeclared
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.mesh.fault import fault_in
from hanse.node.saga_attempts import Attempts
from hanse.node.saga_course import WAIT_SECONDS_MAX, Course
from hanse.node.saga_journal import Stuck
from hanse.node.saga_mail import Mail, Wait
from hanse.node.saga_replay import Replay
from hanse.node.saga_result import result_in
from hanse.service.logbook import Asked

_faults = codec_for(Message)


@final
class SagaLogbook:
    """What the code of one run asks for; see `Logbook`.

    Attributes:
        replay: Tells what has been, in its old order.
        asked: The steps, as the code asked for them, by name.
        asleep: Its branches that wait: until when, and for which event, if it is one.
    """

    def __init__(
        self, course: Course, attempts: Attempts, tasks: Tasks, mail: Mail, events: tuple[type[Event], ...]
    ) -> None:
        """Begin with a journal that has been read.

        Args:
            course: Of the run.
            attempts: Does the steps.
            tasks: Of the run.
            mail: The events that have come.
            events: Those that the code may wait for.
        """
        self.asked: dict[str, Asked] = {}
        self.asleep: dict[object, tuple[float, Wait | None]] = {}
        self._course = course
        self._journal = course.journal
        self._host = course.journal.place.host
        self._attempts = attempts
        self._tasks = tasks
        self._mail = mail
        self._events = events
        steps = course.journal.steps
        self.replay: Replay = Replay(steps)
        self._taken = {step.digest for step in steps.values() if step.kind == "event" and step.closed}

    @property
    def id(self) -> str:
        """See `Logbook.id`."""
        return self._journal.row.id

    async def step(self, asked: Asked, /) -> object:
        """See `Logbook.step`."""
        kind = asked.result
        self.asked[asked.name] = asked
        await self.replay.turn(asked.name)
        known = await self._fitting(asked.name, "step", asked.digest)
        if known is None or not known.closed:
            await self._course.never_anew()
            doing = self._tasks.start(self._attempts.do(asked, known), name=f"saga {self.id} does {asked.name}")
            # Who waits no more does not stop it: it may have taken effect by now.
            known = await asyncio.shield(doing) or await self._course.hang()
        return await self._told(known, kind)

    async def sleep(self, name: str, seconds: float, /) -> None:
        """See `Logbook.sleep`."""
        step = await self._waiting(name, "sleep", seconds)
        while step.until > self._host.now() and not step.closed:
            if (stop := self._course.stop()) is not None:
                step = await self._attempts.closed(step, stop)
                break
            await self._doze(step.until)
        _ = await self._told(step, None)

    async def event(
        self, name: str, kind: type[Event], where: Callable[[Any], bool] | None, timeout: float, /
    ) -> Event:
        """See `Logbook.event`."""
        row = self._journal.row
        if kind not in self._events:
            raise Misdeclared(
                f"{row.name} waits for {kind.__name__}, which it does not list; write "
                f"`@saga(events=({kind.__name__},))`"
            )
        step = await self._waiting(name, "event", timeout)
        if not step.closed:
            wait = self._mail.wait(self.id, kind, where, since=row.since)
            try:
                step = await self._awaited(step, wait)
            finally:
                wait.close()
        return cast("Event", await self._told(step, kind))

    async def now(self, name: str, /) -> float:
        """See `Logbook.now`."""
        await self.replay.turn(name)
        known = await self._fitting(name, "now", "")
        if known is None:
            await self._course.never_anew()
            step = SagaStep(saga=self.id, name=name, kind="now", result=repr(self._host.now()))
            known = await self._attempts.noted(step)
        return cast("float", await self._told(known, float))

    async def _awaited(self, step: SagaStep, wait: Wait) -> SagaStep:
        """The step when its event has come, or does not any more."""
        while not step.closed:
            found = wait.look(self._taken)
            if found is not None:
                self._taken.add(found.id)
                closed = msgspec.structs.replace(step, closed=True, digest=found.id, result=found.value)
                step = await self._attempts.noted(closed)
            elif (stop := self._course.stop()) is not None or step.until <= self._host.now():
                step = await self._attempts.closed(step, stop or DeadlineExceeded(step.name))
            else:
                await self._doze(step.until, wait)
        return step

    async def _waiting(self, name: str, kind: str, seconds: float) -> SagaStep:
        """What is known of a wait; it begins at the first time of asking."""
        await self.replay.turn(name)
        known = await self._fitting(name, kind, "")
        if known is not None:
            return known
        await self._course.never_anew()
        return await self._attempts.open(name, kind, seconds)

    async def _fitting(self, name: str, kind: str, digest: str) -> SagaStep | None:
        known = self._journal.steps.get(name)
        problem = "" if known is None else misfit(known, kind, digest)
        if problem:
            self._course.break_off(
                Stuck(
                    name,
                    f"{problem}; the code was changed since, or depends on something that is no step: give new code a "
                    f"new `@saga(version=...)`",
                )
            )
            await self._course.hang()
        return known

    async def _told(self, step: SagaStep, kind: Any) -> object:  # noqa: ANN401 - a type, or a form of one
        """What a step came to, for the code."""
        if step.fault:
            raise fault_in(_faults.decode(step.fault))
        if not step.result:
            return None
        try:
            return result_in(step, kind)
        except (Invalid, Malformed) as fault:
            self._course.break_off(Stuck(step.name, f"what it came to does not fit the code any more: {fault}"))
            return await self._course.hang()

    async def _doze(self, until: float, wait: Wait | None = None) -> None:
        """Wait for a moment, at most until an event comes, or until the saga is to turn back."""
        until = min(until, self._journal.row.due)
        left = max(0.0, min(until - self._host.now(), WAIT_SECONDS_MAX))
        branch = object()
        self.asleep[branch] = until, wait
        stirred = (self._course.hurry,) if wait is None else (self._course.hurry, wait.came)
        waiting = [self._tasks.start(event.wait()) for event in stirred]
        try:
            _ = await asyncio.wait(waiting, timeout=max(left, 0.001), return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self.asleep[branch]
            for one in waiting:
                _ = one.cancel()
        if self._course.ending:
            # The code has ended: nobody waits for this any more.
            await self._course.hang()
