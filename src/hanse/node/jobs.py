"""Makes the calls of jobs, on the instance that has the duty of their service: with one key each, until each is done.

A call whose instance dies is made again with the same key, on whoever has the duty then: so it takes effect once.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import final

import msgspec

from hanse.delivery.saga_machine import SagaAborted, SagaStuck
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, RemoteFault, Unavailable, UnderWay
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, Kind, Message
from hanse.mesh.fault import fault_in, fault_message
from hanse.node.hosted import Hosted
from hanse.node.stored_sagas import StoredSagas
from hanse.service.agenda import rest_after
from hanse.service.held import Held, Leases
from hanse.service.job import (
    ENDED,
    KEPT_SECONDS,
    OPEN,
    OPEN_MAX,
    Job,
    JobGivenUp,
    answered,
    begun,
    given_back,
    key_of,
    said,
    states,
)
from hanse.service.leases import Grant
from hanse.service.local import LocalCollection
from hanse.service.reaction import SWEEP_SECONDS, Rule
from hanse.service.rules import Call, RuleJob, RuleRunner
from hanse.store.base import Store
from hanse.store.query import PAGE_MAX, And, Compare
from hanse.transport.base import Receiver

JOB_SECONDS_MAX = 86_400.0
"""How long after it was asked for a job may still be running, if it is no saga."""

SAGA_SECONDS_MAX = 366 * 86_400.0
"""The same for the job of a saga, which ends when that does; longer is only one that is stuck, and nobody mends it."""

SAGAS_AT_ONCE_MAX = OPEN_MAX
"""Jobs of one service that wait for their sagas at once: they do nothing, and take no place from others."""

SAGA_LOOK_SECONDS = 300.0
"""How often who waits for the saga of a job looks whether the job was cancelled."""

STUCK_LOOK_SECONDS = 30.0
"""The same where the saga is stuck, until somebody mends it."""

STUCK_TEXT = "it is stuck, and goes on when somebody has looked after it"
"""What the job of a saga that is stuck says about its progress."""

AT_ONCE_MAX = 100
"""Jobs of one service that run at once; the others wait."""

BEGUN_MAX = 5
"""Processes that may die while they run a job; then it is not begun again."""

RACES_MAX = 5
"""How often a call that failed for a reason that may pass is made again, unless that was that somebody is away."""

_AWAY = frozenset({Unavailable.code, Overloaded.code, UnderWay.code})

_PLAIN, _OF_SAGAS = (And((OPEN, Compare(op, ("saga",), ""))) for op in ("eq", "ne"))


def job_runners(hosted: Hosted, server: Receiver, host: Host, duty: Grant | None = None) -> list[RuleRunner[Job]]:
    """What runs the jobs of a service, by the lease of its duty where there is one; those of sagas apart."""
    name, worker = f"jobs of {hosted.part.name}", Worker(hosted.jobs, hosted.store, server, host)
    plain = Rule(Job, _PLAIN, SWEEP_SECONDS, JOB_SECONDS_MAX + SWEEP_SECONDS, AT_ONCE_MAX)
    made = [_runner(RuleJob(name, plain, hosted.jobs, worker.work), host, duty)]
    if hosted.sagas is not None:
        waiting = Rule(Job, _OF_SAGAS, SWEEP_SECONDS, SAGA_SECONDS_MAX + SWEEP_SECONDS, SAGAS_AT_ONCE_MAX)
        of_sagas = RuleJob(f"{name} that are sagas", waiting, hosted.jobs, worker.see_to)
        made.append(_runner(of_sagas, host, duty))
    return made


def _runner(job: RuleJob[Job], host: Host, duty: Grant | None) -> RuleRunner[Job]:

    async def alone(call: Call) -> None:
        # Without a unit of work: how a job stands is told while it runs.
        token = ambient.set(Context(host, message_id=host.new_id(), operation=job.name))
        try:
            await call()
        finally:
            ambient.reset(token)

    return RuleRunner(job, alone, leases=Leases(), host=host, on_duty=lambda: duty is None or duty.holds())


async def forget_jobs(jobs: LocalCollection[Job], now: float) -> bool:
    """Forget jobs that ended long ago, in the unit of work of whoever asks; whether there may be more."""
    old = And((ENDED, Compare("lt", ("ended_at",), now - KEPT_SECONDS)))
    found = (await jobs.find(old, limit=PAGE_MAX)).items
    for job in found:
        await jobs.delete(job.id)
    return len(found) == PAGE_MAX


@final
class Worker:
    """Makes the call of one job after the other.

    Args of the constructor:
        jobs: The rows.
        store: Where they are.
        server: Handles the calls: here, as nothing between nodes may be waited for as long as a job may take.
        host: Clocks, chance and ids.
    """

    def __init__(self, jobs: LocalCollection[Job], store: Store, server: Receiver, host: Host) -> None:
        self._jobs = jobs
        self._store = store
        self._server = server
        self._host = host
        self._sagas = StoredSagas(store, host)

    async def work(self, held: Held[Job]) -> None:
        """Make the call of a job, until there is an answer or somebody cancels it."""
        id = held.value.id
        job = await self._jobs.change(id, lambda job: None if job is None else begun(job))
        if job is None or not job.open:
            return
        try:
            reply = await self._answer(job)
        except asyncio.CancelledError:
            # The node stops, or its duty is another's: that it was begun here says nothing against the job.
            _ = await self._jobs.change(id, lambda job: None if job is None else given_back(job))
            raise
        if reply is not None:
            await self._note(id, reply)

    async def see_to(self, held: Held[Job]) -> None:
        """Begin the saga of a job, or wait for one that has begun, and note what it came to.

        Where this process stops, nothing is noted: the saga goes on elsewhere, and somebody waits for it there.
        """
        id = held.value.id
        job = await self._jobs.change(id, lambda job: None if job is None else begun(job))
        while job is not None and job.open:
            reply, pause = await self._of_saga(job)
            if reply is not None:
                await self._note(id, reply, aborted=_code_of(reply) == SagaAborted.code)
            if reply is not None or pause is None:
                return
            await asyncio.sleep(pause)
            job = await self._jobs.stored(id)

    async def _note(self, id: str, reply: Message, *, aborted: bool = False) -> None:
        now = self._host.now()
        _ = await self._jobs.change(id, lambda job: None if job is None else answered(job, reply, now, aborted=aborted))

    async def _of_saga(self, job: Job) -> tuple[Message | None, float | None]:
        """What the saga of a job came to; or seconds to wait before it is asked again, None to leave that to others."""
        if job.state == "cancelling" and not await self._sagas.turn_back(job.saga, by=job.caller or "its caller"):
            return fault_message(SagaAborted(), job.id), None
        left = job.asked_at + SAGA_SECONDS_MAX - self._host.now()
        if left <= 0.0:
            return fault_message(DeadlineExceeded(job.address), job.id), None
        reply = await self._server.serve(self._call_of(job, min(left, SAGA_LOOK_SECONDS)))
        code = _code_of(reply)
        await self._tell(job, STUCK_TEXT if code == SagaStuck.code else "")
        if code == Unavailable.code:
            return None, None
        if code == SagaStuck.code:
            return None, STUCK_LOOK_SECONDS
        # Only who waits is told so; a saga that ended is told as one that is undone.
        is_under_way = code in {DeadlineExceeded.code, Overloaded.code}
        return (None, rest_after(1, self._host.chance.random())) if is_under_way else (reply, None)

    async def _tell(self, job: Job, text: str) -> None:
        if job.text != text:
            _ = await self._jobs.change(job.id, lambda job: None if job is None else said(job, text))

    def _call_of(self, job: Job, left: float) -> Message:
        headers = msgspec.structs.replace(job.headers, idempotency_key=key_of(job.id), priority=BACKGROUND)
        return Message(Kind.CALL, self._host.new_id(), job.address, left, headers, job.body)

    async def _answer(self, job: Job) -> Message | None:
        """What the call is answered with; None where the job is cancelled before."""
        if job.attempts > BEGUN_MAX:
            return fault_message(JobGivenUp(job.address, BEGUN_MAX), job.id)
        async with asyncio.TaskGroup() as group:
            asking, closing = group.create_task(self._ask(job)), group.create_task(self._closed(job.id))
            _ = await asyncio.wait([asking, closing], return_when=asyncio.FIRST_COMPLETED)
            _ = asking.cancel(), closing.cancel()
        return None if asking.cancelled() else asking.result()

    async def _closed(self, id: str) -> None:
        """Wait until the job is open no more."""
        async with aclosing(states(self._jobs, self._store, id)) as found:
            async for job in found:
                if job is None or not job.open:
                    return

    async def _ask(self, job: Job) -> Message:
        failures = 0
        while True:
            left = job.asked_at + JOB_SECONDS_MAX - self._host.now()
            if left <= 0.0:
                return fault_message(DeadlineExceeded(job.address), job.id)
            reply = await self._server.serve(self._call_of(job, left))
            fault = fault_in(reply, ()) if reply.kind is Kind.FAULT else None
            failures += 1
            if fault is None or not _may_pass(fault, failures):
                return reply
            await asyncio.sleep(rest_after(failures, self._host.chance.random()))


def _may_pass(fault: Fault, failures: int) -> bool:
    """Whether a call that failed is made again: as long as it takes where somebody is away."""
    code = _named(fault)
    return fault.retryable and (code in _AWAY or failures < RACES_MAX)


def _code_of(reply: Message) -> str:
    """The code of the fault that a reply tells of; empty where it tells of none."""
    return _named(fault_in(reply, ())) if reply.kind is Kind.FAULT else ""


def _named(fault: Fault) -> str:
    return fault.remote_code if isinstance(fault, RemoteFault) else fault.code
