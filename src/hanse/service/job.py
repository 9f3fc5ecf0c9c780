"""Jobs: calls that are answered later. Each is a row of the service that it calls, so it is lost by no crash.

Whoever asks is told the job's name once its row is committed. The instance that has the duty of the service then makes
the call, with an idempotency key, as often as it takes: so the call takes effect once, whoever dies in between, and
what it answered is kept with what it wrote.

States: waiting -> running -> done | failed | cancelled. A job that waits or runs may be cancelled. One that began a
saga has that turn back, and is `cancelling` until the saga is over: done, where that was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import Literal, Protocol, cast

import msgspec

from hanse.contract.declare import Contract, rpc
from hanse.contract.derive import Description, Operation, describe_as
from hanse.contract.model import Resource, collection_of
from hanse.kernel.codec import canonical, codec_for
from hanse.kernel.context import Context, ambient, current
from hanse.kernel.faults import Fault, Forbidden, NotFound, Overloaded, Unauthenticated, UnknownOperation
from hanse.kernel.message import Headers, Identity, Kind, Message
from hanse.service.local import LocalCollection
from hanse.service.unit import Unit
from hanse.store.base import Store
from hanse.store.query import Compare

KEPT_SECONDS = 86_400.0
"""How long the answer of a job is kept."""

PROGRESS_SECONDS = 0.5
"""How often the progress of a job is written; what is told in between is passed over, but for the end."""

TEXT_CHARACTERS_MAX = 500
"""Of what a job says about its progress; it is cut to that."""

OPEN_MAX = 10_000
"""Jobs of one service that wait or run at once; more are refused as `Overloaded`."""

LOOK_SECONDS = 5.0
"""How often who follows a job looks at it, should nobody have said that it changed."""

KEY_PREFIX = "job/"
"""Begins the idempotency keys of calls that jobs make."""

JobState = Literal["waiting", "running", "cancelling", "done", "failed", "cancelled"]


class Job(Resource, collection="hanse_jobs", indexed=("open", "ended_at")):
    """A call that is answered later, in the store of the service that it calls.

    Attributes:
        address: `service.operation`.
        body: The arguments, in MessagePack.
        headers: Who asked, and what story it belongs to.
        caller: Who asked, as one text; only they see it.
        state: How it stands; `cancelling` while its saga turns back.
        open: Whether it has not ended.
        asked_at, ended_at: Wall-clock seconds; `ended_at` is 0 until it has.
        attempts: How often a process has begun to make the call.
        progress: From 0 to 1, as the handler said; negative where it said nothing.
        text: What it said beside that.
        told_at: Wall-clock second at which it last said so.
        answer: The reply, a `Message` in MessagePack; empty until there is one.
        saga: Id of the saga that its call begins; empty where that is none.
    """

    address: str
    body: bytes
    headers: Headers = Headers()
    caller: str = ""
    state: JobState = "waiting"
    open: bool = True
    asked_at: float = 0.0
    ended_at: float = 0.0
    attempts: int = 0
    progress: float = -1.0
    text: str = ""
    told_at: float = 0.0
    answer: bytes = b""
    saga: str = ""


JOBS = collection_of(Job)
"""Name of the collection."""

OPEN, ENDED = (Compare("eq", ("open",), value) for value in (True, False))
"""Those that have not ended, and those that have."""


class JobGivenUp(Fault, status=500, detail="{count} processes died while they ran {operation}; it is not run again"):
    """A job was begun by one process after the other, and all died before it was done: perhaps because of it."""

    operation: str
    count: int


class Standing(msgspec.Struct, frozen=True):
    """How a job stands, for whoever asked for it.

    Attributes:
        id: Its name.
        address: `service.operation`.
        state: See `Job`.
        asked_at, ended_at: Wall-clock seconds; `ended_at` is 0 until it has ended.
        progress: From 0 to 1; negative where nothing is known.
        text: What the handler says of its progress.
        answer: The reply, a `Message` in MessagePack; empty until there is one.
    """

    id: str
    address: str
    state: JobState
    asked_at: float
    ended_at: float = 0.0
    progress: float = -1.0
    text: str = ""
    answer: bytes = b""

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state not in {"waiting", "running", "cancelling"}

    def reply(self) -> Message | None:
        """What it was answered with; None where there is no answer."""
        return _message.decode(self.answer) if self.answer else None


_message = codec_for(Message)


class Jobs(Contract, Protocol):
    """The jobs that call one contract."""

    @rpc
    async def start(self, address: str, body: bytes) -> Standing:
        """Take a call on. Raises UnknownOperation, Unauthenticated, Forbidden, Overloaded over `OPEN_MAX`."""
        ...

    @rpc(idempotent=True)
    async def get(self, id: str) -> Standing:
        """How one of the caller's own jobs stands. Raises NotFound."""
        ...

    @rpc(idempotent=True)
    async def cancel(self, id: str) -> Standing:
        """Have one of the caller's own jobs end, unless it has; a saga turns back before. Raises NotFound."""
        ...

    @rpc
    def follow(self, id: str) -> AsyncIterator[Standing]:
        """How one of the caller's own jobs stands, now and after each change, until it has ended. Raises NotFound."""
        ...


@lru_cache(maxsize=4096)
def jobs_contract(contract: str) -> Description:
    """The contract under which the jobs that call another are served, made once."""
    return describe_as(Jobs, f"jobs/{contract}")


class SagasBegun(Protocol):
    """The sagas that calls of jobs begin."""

    def of(self, address: str, identity: Identity, key: str, /) -> str:
        """The id of the saga that a call begins; empty where its operation is none."""
        ...

    async def turn_back(self, id: str, /, *, by: str) -> bool:
        """Have a saga turn back, unless it does or is over; False where it has not begun."""
        ...


class JobsOf:
    """Serves the jobs that call one contract, from the store of the service that provides it.

    Args of the constructor:
        rows: Their collection; of the service.
        store: Where it is.
        operations: Of the contract: what may be called, by address.
        sagas: Those of the same service.
    """

    def __init__(
        self, rows: LocalCollection[Job], store: Store, operations: Mapping[str, Operation], sagas: SagasBegun
    ) -> None:
        self._sagas = sagas
        self._rows = rows
        self._store = store
        self._operations = operations

    async def start(self, address: str, body: bytes) -> Standing:
        """See `Jobs.start`."""
        operation, context = self._operations.get(address), current()
        if operation is None or operation.stream:
            raise UnknownOperation(f"no operation {address!r} of this service can be a job")
        guard = operation.options.allow
        if guard is not None and not guard.allows(context.identity):
            raise Unauthenticated if context.identity.anonymous else Forbidden(f"{address} needs {guard.wants}")
        # Arguments that nobody could read would fail later, when nobody waits any more.
        _ = codec_for(operation.arguments).decode(body)
        if await self._rows.count(OPEN) >= OPEN_MAX:
            raise Overloaded(f"the limit of {OPEN_MAX} jobs that have not ended")
        id = context.host.new_id()
        job = Job(
            id=id,
            address=address,
            body=body,
            headers=context.headers,
            caller=context.identity.caller,
            asked_at=context.host.now(),
            saga=self._sagas.of(address, context.identity, key_of(id)),
        )
        return standing_of(await self._rows.create(job))

    async def get(self, id: str) -> Standing:
        """See `Jobs.get`."""
        return standing_of(await self._own(id))

    async def cancel(self, id: str) -> Standing:
        """See `Jobs.cancel`."""
        _, now = await self._own(id), current().host.now()
        job = await self._rows.change(id, lambda job: None if job is None else cancelled(job, now))
        job = self._rows.there(id, job)
        if job.state == "cancelling":
            # Where it has not begun, whoever is about to begin it sees how the job stands.
            _ = await self._sagas.turn_back(job.saga, by=job.caller or "its caller")
        return standing_of(job)

    async def follow(self, id: str) -> AsyncIterator[Standing]:
        """See `Jobs.follow`."""
        last: Standing | None = None
        async with aclosing(states(self._rows, self._store, id)) as jobs:
            async for job in jobs:
                standing = standing_of(_own(id, job))
                if standing != last:
                    yield standing
                if standing.ended:
                    return
                last = standing

    async def _own(self, id: str) -> Job:
        return _own(id, await self._rows.stored(id))


def _own(id: str, job: Job | None) -> Job:
    """A job of whoever asks; of others, nobody tells that they are there."""
    if job is None or job.caller != current().identity.caller:
        raise NotFound("job", id[:100])
    return job


async def states(rows: LocalCollection[Job], store: Store, id: str) -> AsyncGenerator[Job | None, None]:
    """A job as it stands now, and again whenever a job may have changed; without an end."""
    changed = asyncio.Event()
    unlisten = store.listen(changed.set, names=(JOBS,))
    try:
        while True:
            changed.clear()
            yield await rows.stored(id)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    _ = await changed.wait()
            except TimeoutError:
                continue
    finally:
        unlisten()


def standing_of(job: Job) -> Standing:
    """How a job stands."""
    return Standing(job.id, job.address, job.state, job.asked_at, job.ended_at, job.progress, job.text, job.answer)


def begun(job: Job) -> Job:
    """A job whose call is made, once more or for the first time; one that has ended stays as it is.

    So does one whose saga has begun: that outlives processes by itself, and counts none against the job.
    """
    if job.saga and job.state != "waiting":
        return job
    return _with(job, state="running", attempts=job.attempts + 1) if job.open else job


def given_back(job: Job) -> Job:
    """A job that its process lets go of, for the next to begin anew; a saga goes on where it is."""
    return _with(job, state="waiting", attempts=job.attempts - 1) if job.open and not job.saga else job


def answered(job: Job, reply: Message, now: float, *, aborted: bool = False) -> Job:
    """A job with its answer. What was done counts, also where it was cancelled in the same moment.

    Args:
        job: As it stood.
        reply: The answer.
        now: Wall-clock second.
        aborted: Whether the answer says that a saga has turned back because somebody wanted that.
    """
    done = reply.kind is not Kind.FAULT
    if not job.open and not done:
        return job
    was_cancelled = aborted and job.state == "cancelling"
    state: JobState = "done" if done else "cancelled" if was_cancelled else "failed"
    return _with(
        job, state=state, open=False, ended_at=now, answer=canonical(reply), progress=1.0 if done else job.progress
    )


def cancelled(job: Job, now: float) -> Job:
    """A job that was cancelled; one that has ended stays as it is, and one whose saga may have begun waits for that."""
    if job.saga and job.state != "waiting":
        return _with(job, state="cancelling") if job.open else job
    return _with(job, state="cancelled", open=False, ended_at=now) if job.open else job


def furthered(job: Job, progress: float, text: str, now: float) -> Job:
    """A job that has come that far; one that said so a moment ago stays as it is."""
    is_soon = 0.0 <= now - job.told_at < PROGRESS_SECONDS
    if not job.open or (is_soon and progress < 1.0):
        return job
    return _with(job, progress=min(max(progress, 0.0), 1.0), text=text[:TEXT_CHARACTERS_MAX], told_at=now)


def said(job: Job, text: str) -> Job:
    """A job of which there is something else to say; one that has ended stays as it is."""
    return _with(job, text=text[:TEXT_CHARACTERS_MAX]) if job.open else job


def _with(job: Job, **changes: object) -> Job:
    return msgspec.structs.replace(job, **changes)


def key_of(job: str) -> str:
    """The idempotency key of the call that a job makes."""
    return f"{KEY_PREFIX}{job}"


async def progress(done: float, text: str = "") -> None:
    """Say how far the job that runs here has come: whoever follows it is told at once, whatever the handler commits.

    Does nothing where the handler was called for an answer, so that it need not know.

    Args:
        done: From 0 to 1.
        text: What it is about to do, in words.

    Example:
        >>> class Reports:
        ...     async def year(self, months: list[str]) -> None:
        ...         for number, month in enumerate(months):
        ...             await progress(number / len(months), month)
    """
    context = current()
    unit = context.work
    first = unit.first if isinstance(unit, Unit) else None
    if first is None or not first.key.startswith(KEY_PREFIX):
        return
    store, caller = cast("Store", context.store), context.identity.caller
    rows, now = LocalCollection(Job, store), context.host.now()

    def further(job: Job | None) -> Job | None:
        return job if job is None or job.caller != caller else furthered(job, done, text, now)

    id = first.key.removeprefix(KEY_PREFIX)
    # In a context without a unit of work, so that it is committed now.
    token = ambient.set(Context(context.host, context.headers))
    try:
        job = await rows.stored(id)
        if further(job) is not job:
            _ = await rows.change(id, further)
    finally:
        ambient.reset(token)
