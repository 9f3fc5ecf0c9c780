"""The journal of one saga: what is stored of it, and how more of it is.

Every write is one commit: under the lease of the duty where there is one, and refused where the row is not as this
process knows it. So two processes that take themselves for the one at work cannot both go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast, final

import msgspec

from hanse.delivery.saga_rows import SAGA_STEPS, SAGAS, SagaRow, SagaStep, saga_in, step_id, step_in
from hanse.kernel.codec import codec_for
from hanse.kernel.context import FOREVER, NOWHERE, Context, ambient
from hanse.kernel.faults import Conflict, Fault, Misdeclared, PreconditionFailed
from hanse.kernel.host import Host
from hanse.kernel.message import Headers
from hanse.kernel.telemetry import Side, Span
from hanse.mesh.watch import Watch
from hanse.node.saga_result import kept_result
from hanse.service.leases import Grant, LeaseLost
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Store
from hanse.store.query import PAGE_MAX, Compare, Query

RACES_MAX = 10
"""How often the row of a saga is written anew because somebody changed it, such as to abort the saga."""

_headers = codec_for(Headers)


class SagaLost(Exception):
    """Somebody else is at work on the saga; nothing more is to be done here."""


class Stuck(Exception):
    """A saga cannot go on.

    Attributes:
        step: What cannot be done.
        why: What is in the way.
    """

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step: str = step
        self.why: str = why


@dataclass(frozen=True, slots=True)
class SagaPlace:
    """Where the sagas of one service are worked on.

    Attributes:
        service: Its name.
        instance: The object that has the code.
        store: Where its rows are.
        host: Clocks, chance and ids.
        duty: What every commit rests on, where several processes share the store.
        watch: What records its steps, if anything does.
    """

    service: str
    instance: Any
    store: Store
    host: Host
    duty: Grant | None
    watch: Watch | None


class _Closed(Unit):
    """The unit of work that a saga's code outside of steps has: it takes nothing."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - it never returns
        raise Misdeclared(
            "a saga reads and writes in steps, since its code runs again when it is resumed; "
            "move this to a method: `await s.step(self._method, ...)`"
        )

    saw = seen = staged = rows = put = delete = emit = commit = _refuse


@final
class SagaJournal:
    """What is stored of one saga.

    Attributes:
        row: Of the saga, as far as this process knows.
        steps: Of its steps, by name.
        resumed: Whether somebody may have worked on it before.
    """

    def __init__(self, row: SagaRow, place: SagaPlace, *, fresh: bool) -> None:
        self.row: SagaRow = row
        self.steps: dict[str, SagaStep] = {}
        self.place: SagaPlace = place
        self._headers: Headers = _headers.decode(row.headers)
        self.resumed: bool = not fresh
        self._fresh = fresh

    @property
    def headers(self) -> Headers:
        """What its calls carry: what it was begun with, and the tags that its code has added."""
        return msgspec.structs.replace(self._headers, tags=self.row.tags)

    async def open(self) -> None:
        """Read what is there; of a saga that has just begun, nothing is."""
        cursor: str | None = None
        while not self._fresh:
            query = Query(Compare("eq", ("saga",), self.row.id), limit=PAGE_MAX, cursor=cursor)
            found = await self.place.store.find(SAGA_STEPS, query)
            self.steps.update((step.name, step) for step in map(step_in, found.rows))
            cursor = found.next
            self._fresh = cursor is None

    def outside(self) -> Context:
        """The context of code outside of steps: it neither writes nor calls."""
        context = Context(self.place.host, self.headers, NOWHERE, self.row.id, self.row.name, self.place.store)
        context.work = _Closed(self.place.store, context)
        return context

    async def take_effect(
        self, step: SagaStep, call: Callable[[], Awaitable[object]], *, key: str = "", seconds: float = FOREVER
    ) -> SagaStep:
        """Do something, and store what it came to with what it wrote.

        Args:
            step: What will be known of it.
            call: Does it.
            key: The idempotency key of what it calls; empty for none.
            seconds: That calls have.

        Returns:
            The step as it is stored.

        Raises:
            Exception: Whatever it fails with; then nothing is stored.
        """
        with self._span(step, msgspec.structs.replace(self.headers, idempotency_key=key)) as span:
            return await self._within(step, call, span.headers, seconds)

    async def _within(
        self, step: SagaStep, call: Callable[[], Awaitable[object]], headers: Headers, seconds: float
    ) -> SagaStep:
        host = self.place.host
        deadline = FOREVER if seconds == FOREVER else host.monotonic() + seconds
        context = Context(host, headers, deadline, self.row.id, self.row.name, self.place.store)
        token = ambient.set(context)
        try:
            result = kept_result(await call(), cast("Unit", unit_for(self.place.store)))
            done = msgspec.structs.replace(step, id=step_id(self.row.id, step.name), result=result, at=host.now())
            return await self._stored(done)
        finally:
            ambient.reset(token)
            # What a task that outlives the step writes must not wait for a commit that has been.
            context.store = None

    def _span(self, step: SagaStep, headers: Headers) -> Span:
        """One attempt at a step, as whoever follows its story sees it."""
        if self.place.watch is None:
            return Span(headers, Side.INTERNAL)
        attributes: dict[str, str | int] = {
            "hanse.saga.name": self.row.name,
            "hanse.saga.id": self.row.id,
            "hanse.saga.step": step.name,
            "hanse.saga.attempt": step.attempts,
        }
        return self.place.watch.step(f"{step.kind} {step.does}", headers, attributes)

    async def note(self, step: SagaStep) -> SagaStep:
        """Store something that wrote nothing; or what became of it meanwhile, by a commit that nobody waited for.

        Raises:
            SagaLost: Somebody else has written it.
        """
        done = msgspec.structs.replace(step, id=step_id(self.row.id, step.name), at=self.place.host.now())
        try:
            with self._alone():
                return await self._stored(done)
        except LeaseLost:
            raise
        except (Conflict, PreconditionFailed):
            if (found := await self.stored(step.name)) is None:
                raise SagaLost from None
            return found

    async def stored(self, name: str) -> SagaStep | None:
        """A step as the store has it, if it does: its commit may have outlived who waited for it."""
        found = await self.place.store.load(SAGA_STEPS, step_id(self.row.id, name))
        if found is None:
            return None
        step = step_in(found)
        known = self.steps.get(name)
        if not step.closed or (known is not None and known.rev == step.rev):
            return None
        self.steps[name] = step
        return step

    async def change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the row
        """Write the saga's row; where somebody changed it meanwhile, on what they left.

        Raises:
            SagaLost: It is gone, or in a state that only another process can have left it in.
        """
        for _ in range(RACES_MAX):
            before = self.row
            row = msgspec.structs.replace(before, **changes)
            try:
                with self._alone():
                    cast("Unit", unit_for(self.place.store)).put(SAGAS, row, before.rev, insisted=True)
                    await self._commit()
            except PreconditionFailed:
                await self._look_again()
            else:
                self.row = row
                return
        raise SagaLost

    async def _look_again(self) -> None:
        found = await self.place.store.load(SAGAS, self.row.id)
        row = None if found is None else saga_in(found)
        if row is None or row.state != self.row.state:
            raise SagaLost
        self.row = row

    async def _stored(self, step: SagaStep) -> SagaStep:
        known = self.steps.get(step.name)
        unit = cast("Unit", unit_for(self.place.store))
        unit.put(SAGA_STEPS, step, 0 if known is None else known.rev, insisted=True)
        await self._commit()
        self.steps[step.name] = step
        return step

    async def _commit(self) -> None:
        unit, duty = cast("Unit", unit_for(self.place.store)), self.place.duty
        await (unit.commit() if duty is None else duty.commit(unit))

    def _alone(self) -> _Alone:
        return _Alone(Context(self.place.host, self.headers, FOREVER, self.row.id, self.row.name, self.place.store))


class _Alone:
    """A context of its own for a commit that nothing else joins."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = ambient.set(self._context)

    def __exit__(self, *_: object) -> None:
        ambient.reset(self._token)


def text_of(error: BaseException) -> str:
    """What an error says, for people."""
    return str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
