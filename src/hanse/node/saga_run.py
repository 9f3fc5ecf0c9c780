"""One saga at work: runs its code, does its steps, and takes it back where it fails.

The shell around `hanse.delivery.saga_machine`. A run ends when the saga does, gets stuck, or has to be left to another
process; whoever takes it up then begins with its journal. A step that has begun comes to its end even where the code
waits no more: only then is it known what has to be undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Never, TypeVar, cast, final

import msgspec

from hanse.contract.model import Event, topic_of
from hanse.delivery.retry import next_delay
from hanse.delivery.saga_machine import SILENT, UNEXPECTED, SagaAborted, Verdict, after_step, misfit
from hanse.delivery.saga_rows import SagaRow, SagaStep, State
from hanse.kernel.codec import codec_for, encode, encode_json
from hanse.kernel.context import ambient
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import DeadlineExceeded, Fault, Invalid, Malformed, Misdeclared
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.mesh.fault import fault_in, fault_message
from hanse.node.saga_back import WayBack
from hanse.node.saga_journal import SagaJournal, SagaLost, SagaPlace, Stuck, text_of
from hanse.node.saga_mail import Mail
from hanse.node.saga_replay import ASKED_SECONDS, Misfit, Replay
from hanse.service.leases import LeaseLost
from hanse.service.saga import Asked, Pinned, Saga, arguments_of

T = TypeVar("T")

WAIT_SECONDS_MAX = 60.0
"""Longest wait before the wall clock is looked at again: it may jump."""

TEXT_CHARACTERS_MAX = 2_000
"""Longest text of a failure that is kept."""

_faults = codec_for(Message)


@final
class SagaRun:
    """One run of one saga; a `Logbook` to its code.

    Attributes:
        journal: What is stored of it.
        asleep: How many of its branches wait for a moment or an event.
        under_way: How many of its steps are being done.
    """

    def __init__(self, journal: SagaJournal, pinned: Pinned | None, mail: Mail) -> None:
        self.journal: SagaJournal = journal
        self.asleep: int = 0
        self.under_way: int = 0
        self._place: SagaPlace = journal.place
        self._host = journal.place.host
        self._pinned = pinned
        self._mail = mail
        self._replay = Replay({})
        self._asked: dict[str, Asked] = {}
        # A task that fails is looked at by who waits for it.
        self._tasks = Tasks(lambda _: None)
        self._broken: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()
        self._aborted = journal.row.abort
        self._ending = False
        self._quiet = asyncio.Event()
        self._gone = asyncio.Event()
        self._taken: set[str] = set()
        self._outside = journal.outside()

    @property
    def id(self) -> str:
        """See `Logbook.id`."""
        return self.journal.row.id

    @property
    def row(self) -> SagaRow:
        """Of the saga."""
        return self.journal.row

    def abort(self) -> None:
        """Have it turn back at the next step, or wait for one; what is on its way back stays so."""
        if self.row.state == "running":
            self._aborted = True
            self._hurry.set()

    async def run(self) -> SagaRow:
        """Work on it as long as it goes on here.

        Returns:
            Its row: over, or stuck.

        Raises:
            SagaLost, LeaseLost: Another process works on it.
        """
        try:
            async with self._tasks:
                await self._to_its_end()
        except Stuck as stuck:
            why = stuck.why[:TEXT_CHARACTERS_MAX]
            await self.journal.change(state="stuck", stuck_in=self.row.state, step=stuck.step, why=why, trouble="")
        finally:
            self._ending = True
            self._replay.close()
            self._gone.set()
            _ = self._broken.cancel() if not self._broken.done() else self._broken.exception()
        return self.row

    async def _to_its_end(self) -> None:
        await self.journal.open()
        self._taken = {step.digest for step in self.journal.steps.values() if step.kind == "event" and step.closed}
        code, arguments = self._code()
        self._replay = Replay(self.journal.steps)
        if not self._replay.over:
            _ = self._tasks.start(self._replayed(), name=f"saga {self.row.name} {self.id} goes through its journal")
        fault = await self._forward(code, arguments)
        if fault is None:
            return
        if self.row.state == "running":
            await self._turn(fault)
        self._hurry.clear()
        await WayBack(self.journal, self._asked, self._trouble, self._insist).go()
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

    async def _replayed(self) -> None:
        try:
            await self._replay.run()
        except Misfit as problem:
            self._break(Stuck("", str(problem)))

    async def _forward(self, pinned: Pinned, arguments: Mapping[str, object]) -> Fault | None:
        """Run the code; what it failed with, None where it has ended well, and that is stored."""
        code = self._tasks.start(self._run_code(pinned, arguments), name=f"saga {self.row.name} {self.id}")
        await self._either(code)
        error = None if code.cancelled() else code.exception()
        await self._drain()
        if self.row.state == "undoing":
            if not isinstance(error, Exception):
                raise Stuck("", "it was on its way back, but its code comes to a good end now; it was changed since")
            return self._fault_of(error)
        if code.cancelled():
            raise Stuck("", "its code was cancelled by itself")
        if error is not None:
            return self._fault_of(error)
        await self._done(code.result())
        return None

    async def _run_code(self, pinned: Pinned, arguments: Mapping[str, object]) -> object:
        _ = ambient.set(self._outside)
        return await pinned.body(self._place.instance, Saga(self), **arguments)

    async def _either(self, code: asyncio.Task[object]) -> None:
        """Wait for the end of the code, or for what keeps it from coming to one."""
        waited: list[asyncio.Future[Any]] = [code, self._broken]
        if self.row.state == "undoing":
            await self._until_broken(self._replay.finished())
            # All that it waits for is known: it has to fail again, as it did.
            _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED, timeout=ASKED_SECONDS)
            if not code.done():
                self._break(Stuck("", "it was on its way back, but its code does not fail any more"))
        else:
            _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            self._broken.result()

    async def _until_broken(self, what: Awaitable[object]) -> None:
        waiting = self._tasks.start(_awaited(what))
        _ = await asyncio.wait([waiting, self._broken], return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            self._broken.result()

    async def _drain(self) -> None:
        """Let what is under way come to its end, and make sure that all that the journal holds was asked for."""
        self._ending = True
        self._hurry.set()
        await self._until_broken(self._replay.finished())
        while self.under_way:
            self._quiet.clear()
            await self._until_broken(self._quiet.wait())

    def _fault_of(self, error: BaseException) -> Fault:
        """The fault that the code came to, also as one of a group of tasks.

        Raises:
            Stuck: It is none that a contract knows.
        """
        while isinstance(error, ExceptionGroup):
            error = cast("ExceptionGroup[Exception]", error).exceptions[0]
        if isinstance(error, Fault) and not isinstance(error, UNEXPECTED):
            return error
        raise Stuck("", f"its code failed with {text_of(error)}") from error

    async def _done(self, result: object) -> None:
        try:
            told = encode_json(result).decode()
        except (TypeError, NotImplementedError) as error:
            raise Stuck("", f"what it came to cannot be kept: {error}") from None
        await self._end("done", told)

    async def _end(self, state: State, result: str = "") -> None:
        now = self._host.now()
        await self._insist(lambda: self.journal.change(state=state, ended_at=now, result=result, step="", trouble=""))
        fault_point("saga.ended")

    async def _turn(self, fault: Fault) -> None:
        told, now = encode(fault_message(fault, self.id)), self._host.now()
        why = str(fault)[:TEXT_CHARACTERS_MAX]
        await self._insist(
            lambda: self.journal.change(state="undoing", turned_at=now, fault=told, why=why, step="", trouble="")
        )
        fault_point("saga.turned")

    async def step(self, asked: Asked, /) -> object:
        """See `Logbook.step`."""
        kind = asked.result
        self._asked[asked.name] = asked
        await self._replay.turn(asked.name)
        known = await self._fitting(asked.name, "step", asked.digest)
        if known is None or not known.closed:
            await self._never_on_the_way_back()
            doing = self._tasks.start(self._do(asked, known), name=f"saga {self.id} does {asked.name}")
            # Who waits no more does not stop it: it may have taken effect by now.
            known = await asyncio.shield(doing) or await self._hang()
        return await self._told(known, kind)

    async def sleep(self, name: str, seconds: float, /) -> None:
        """See `Logbook.sleep`."""
        step = await self._waiting(name, "sleep", seconds)
        while (left := step.until - self._host.now()) > 0 and not step.closed:
            if (stop := self._stop()) is not None:
                step = await self._closed(step, stop)
                break
            await self._doze(left)
        _ = await self._told(step, None)

    async def event(
        self, name: str, kind: type[Event], where: Callable[[Any], bool] | None, timeout: float, /
    ) -> Event:
        """See `Logbook.event`."""
        if self._pinned is None or kind not in self._pinned.events:
            raise Misdeclared(
                f"{self.row.name} waits for {kind.__name__}, which it does not list; write "
                f"`@saga(events=({kind.__name__},))`"
            )
        step = await self._waiting(name, "event", timeout)
        while not step.closed:
            found = self._mail.find(topic_of(kind), self.row.since, self._taken, _matching(kind, where))
            if found is not None:
                self._taken.add(found.id)
                closed = msgspec.structs.replace(step, closed=True, digest=found.id, result=found.value)
                step = await self._noted(closed)
            elif (stop := self._stop()) is not None or step.until <= self._host.now():
                step = await self._closed(step, stop or DeadlineExceeded(name))
            else:
                await self._doze(step.until - self._host.now(), self._mail.changed(topic_of(kind)))
        return cast("Event", await self._told(step, kind))

    async def now(self, name: str, /) -> float:
        """See `Logbook.now`."""
        await self._replay.turn(name)
        known = await self._fitting(name, "now", "")
        if known is None:
            await self._never_on_the_way_back()
            now = self._host.now()
            known = await self._noted(SagaStep(saga=self.id, name=name, kind="now", result=repr(now)))
        return cast("float", await self._told(known, float))

    async def _do(self, asked: Asked, opened: SagaStep | None) -> SagaStep | None:
        """Do a step until its end is known; that is stored when this returns. None where the saga ends for it."""
        self.under_way += 1
        try:
            await self._tag()
            if asked.timeout is not None and opened is None:
                opened = await self._open(asked.name, "step", asked.timeout, asked.digest)
            return await self._seen_through(asked, opened)
        except Exception as error:  # noqa: BLE001 - it is the end of this run, and no business of the code
            self._break(error)
            return None
        finally:
            self.under_way -= 1
            self._quiet.set()

    async def _tag(self) -> None:
        """Store what the code has tagged its story with: its steps carry that on, and whoever lists sagas sees it."""
        if (tags := self._outside.tags) != self.row.tags:
            await self._insist(lambda: self.journal.change(tags=tags))

    async def _seen_through(self, asked: Asked, opened: SagaStep | None) -> SagaStep:
        begun = self._host.now()
        until = self.row.due if opened is None else min(opened.until, self.row.due)
        step = SagaStep(saga=self.id, name=asked.name, kind="step", begun_at=begun, digest=asked.digest)
        keyed, counted, tries = asked.operation is not None, 0, 0
        # Who worked on the saga before may have asked, and died before it heard.
        silent = self.journal.resumed
        while True:
            stop = self._stop() or (DeadlineExceeded(asked.name) if until <= self._host.now() else None)
            if stop is not None:
                return await self._closed(step, stop, unsettled=silent and keyed)
            tries += 1
            error = await self._tried(asked, msgspec.structs.replace(step, attempts=tries), until - self._host.now())
            if isinstance(error, SagaStep):
                return error
            silent = isinstance(error, SILENT)
            counted += not silent
            left = 0.0 if self._ending else until - self._host.now()
            match after_step(error, counted, time_left=left, keyed=keyed):
                case Verdict.STUCK:
                    raise Stuck(asked.name, text_of(error))
                case Verdict.AGAIN:
                    await self._trouble(asked.name, tries, error)
                case verdict:
                    unsettled = verdict is Verdict.UNSETTLED
                    return await self._closed(step, cast("Fault", error), unsettled=unsettled, attempts=tries)

    async def _tried(self, asked: Asked, step: SagaStep, left: float) -> SagaStep | Exception:
        """One attempt at a step: what is stored of it then, or what it failed with."""
        fault_point("saga.step_before")
        timer = asyncio.timeout(left)
        key = f"{self.id}/{asked.name}" if asked.operation is not None else ""
        try:
            async with timer:
                done = await self.journal.take_effect(
                    step, lambda: asked.call(*asked.args, **asked.kwargs), key=key, seconds=left
                )
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what becomes of it is decided elsewhere
            # A commit may have outlived who waited for it.
            own = await self._insist(lambda: self.journal.stored(asked.name))
            return own or (DeadlineExceeded(asked.name) if timer.expired() else error)
        fault_point("saga.step_committed")
        return done

    async def _waiting(self, name: str, kind: str, seconds: float) -> SagaStep:
        """What is known of a wait; it begins at the first time of asking."""
        await self._replay.turn(name)
        known = await self._fitting(name, kind, "")
        if known is not None:
            return known
        await self._never_on_the_way_back()
        return await self._open(name, kind, seconds)

    async def _open(self, name: str, kind: str, seconds: float, digest: str = "") -> SagaStep:
        now = self._host.now()
        opened = SagaStep(saga=self.id, name=name, kind=kind, closed=False, begun_at=now, until=now + seconds)
        return await self._noted(msgspec.structs.replace(opened, digest=digest))

    async def _closed(
        self, step: SagaStep, fault: Fault, *, unsettled: bool = False, attempts: int | None = None
    ) -> SagaStep:
        """A step that has failed, stored."""
        return await self._noted(
            msgspec.structs.replace(
                step,
                closed=True,
                fault=encode(fault_message(fault, self.id)),
                unsettled=unsettled,
                text=str(fault)[:TEXT_CHARACTERS_MAX],
                attempts=step.attempts if attempts is None else attempts,
            )
        )

    async def _noted(self, step: SagaStep) -> SagaStep:
        try:
            return await self._insist(lambda: self.journal.note(step))
        except (SagaLost, LeaseLost) as error:
            self._break(error)
            await self._hang()

    async def _fitting(self, name: str, kind: str, digest: str) -> SagaStep | None:
        known = self.journal.steps.get(name)
        problem = "" if known is None else misfit(known, kind, digest)
        if problem:
            self._break(
                Stuck(
                    name,
                    f"{problem}; the code was changed since, or depends on something that is no step: give new code a "
                    f"new `@saga(version=...)`",
                )
            )
            await self._hang()
        return known

    async def _told(self, step: SagaStep, kind: Any) -> object:  # noqa: ANN401 - a type, or a form of one
        """What a step came to, for the code."""
        if step.fault:
            raise fault_in(_faults.decode(step.fault))
        if not step.result:
            return None
        try:
            return codec_for(kind).decode_json(step.result.encode())
        except (Invalid, Malformed) as fault:
            self._break(Stuck(step.name, f"what it came to does not fit the code any more: {fault}"))
            return await self._hang()

    async def _never_on_the_way_back(self) -> None:
        """Nothing new is begun by the code of a saga that is on its way back: it goes as far as it went."""
        if self.row.state == "undoing" or self._ending:
            await self._hang()

    async def _hang(self) -> Never:
        """Keep the code from going on; it is cancelled when the run ends."""
        _ = await self._gone.wait()
        raise asyncio.CancelledError

    def _stop(self) -> Fault | None:
        """Why the saga is to turn back, if it is."""
        if self._aborted:
            return SagaAborted()
        if self.row.due <= self._host.now():
            return DeadlineExceeded(self.row.name)
        return None

    async def _trouble(self, name: str, tries: int, error: Exception) -> None:
        """Wait before the next attempt, and let everybody see why."""
        if tries > 1:
            trouble = f"try {tries}: {text_of(error)}"[:TEXT_CHARACTERS_MAX]
            await self._insist(lambda: self.journal.change(step=name, trouble=trouble))
        delay = next_delay(tries, error, self._host.chance.random())
        try:
            async with asyncio.timeout(min(delay, WAIT_SECONDS_MAX)):
                _ = await self._hurry.wait()
        except TimeoutError:
            pass

    async def _doze(self, seconds: float, *events: asyncio.Event) -> None:
        """Wait for a moment, at most until one of the events, or until the saga is to turn back."""
        left = max(0.0, min(seconds, self.row.due - self._host.now(), WAIT_SECONDS_MAX))
        self.asleep += 1
        waiting = [self._tasks.start(event.wait()) for event in (self._hurry, *events)]
        try:
            _ = await asyncio.wait(waiting, timeout=max(left, 0.001), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.asleep -= 1
            for one in waiting:
                _ = one.cancel()
        if self._ending:
            # The code has ended: nobody waits for this any more.
            await self._hang()

    async def _insist(self, what: Callable[[], Awaitable[T]]) -> T:
        """Do something with the store that has to be done, for as long as it is away and the saga is this process's."""
        tries = 0
        while True:
            try:
                return await what()
            except SILENT as fault:
                tries += 1
                await asyncio.sleep(max(0.001, next_delay(tries + 1, fault, self._host.chance.random())))

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)


def arguments_in(pinned: Pinned, arguments: str) -> Mapping[str, object]:
    """The arguments of a saga, as its code takes them.

    Raises:
        Invalid, Malformed: They are not of its types.
    """
    return msgspec.structs.asdict(codec_for(arguments_of(pinned)).decode_json(arguments.encode()))


async def _awaited(what: Awaitable[object]) -> None:
    _ = await what


def _matching(kind: type[Event], where: Callable[[Any], bool] | None) -> Callable[[str], bool]:
    """A test of an event in JSON."""
    if where is None:
        return lambda _: True
    codec: Any = codec_for(kind)
    return lambda value: where(codec.decode_json(value.encode()))
