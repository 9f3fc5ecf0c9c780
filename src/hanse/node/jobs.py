"""Makes the calls of jobs, on the instance that has the duty of their service: with one key each, until each is done.

A call whose instance dies is made again with the same key, on whoever has the duty then: so it takes effect once.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import final

import msgspec

from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, RemoteFault, Unavailable, UnderWay
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, Kind, Message
from hanse.mesh.fault import fault_in, fault_message
from hanse.node.hosted import Hosted
from hanse.service.agenda import rest_after
from hanse.service.held import Held, Leases
from hanse.service.job import ENDED, KEPT_SECONDS, OPEN, Job, JobGivenUp, answered, begun, given_back, key_of, states
from hanse.service.leases import Grant
from hanse.service.local import LocalCollection
from hanse.service.reaction import SWEEP_SECONDS, Rule
from hanse.service.rules import Call, RuleJob, RuleRunner
from hanse.store.base import Store
from hanse.store.query import PAGE_MAX, And, Compare
from hanse.transport.base import Receiver

JOB_SECONDS_MAX = 86_400.0
"""How long after it was asked for a job may still be running."""

AT_ONCE_MAX = 100
"""Jobs of one service that run at once; the others wait."""

BEGUN_MAX = 5
"""Processes that may die while they run a job; then it is not begun again."""

RACES_MAX = 5
"""How often a call that failed for a reason that may pass is made again, unless that was that somebody is away."""

_AWAY = frozenset({Unavailable.code, Overloaded.code, UnderWay.code})


def job_runner(hosted: Hosted, server: Receiver, host: Host, duty: Grant | None = None) -> RuleRunner[Job]:
    """What runs the jobs of a service, by the lease of its duty where there is one."""
    name = f"jobs of {hosted.part.name}"

    async def alone(call: Call) -> None:
        # Without a unit of work: how a job stands is told while it runs.
        token = ambient.set(Context(host, message_id=host.new_id(), operation=name))
        try:
            await call()
        finally:
            ambient.reset(token)

    rule = Rule(Job, OPEN, SWEEP_SECONDS, JOB_SECONDS_MAX + SWEEP_SECONDS, AT_ONCE_MAX)
    job = RuleJob(name, rule, hosted.jobs, Worker(hosted.jobs, hosted.store, server, host).work)
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
            now = self._host.now()
            _ = await self._jobs.change(id, lambda job: None if job is None else answered(job, reply, now))

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
        headers = msgspec.structs.replace(job.headers, idempotency_key=key_of(job.id), priority=BACKGROUND)
        failures = 0
        while True:
            left = job.asked_at + JOB_SECONDS_MAX - self._host.now()
            if left <= 0.0:
                return fault_message(DeadlineExceeded(job.address), job.id)
            message = Message(Kind.CALL, self._host.new_id(), job.address, left, headers, job.body)
            reply = await self._server.serve(message)
            fault = fault_in(reply, ()) if reply.kind is Kind.FAULT else None
            failures += 1
            if fault is None or not _may_pass(fault, failures):
                return reply
            await asyncio.sleep(rest_after(failures, self._host.chance.random()))


def _may_pass(fault: Fault, failures: int) -> bool:
    """Whether a call that failed is made again: as long as it takes where somebody is away."""
    code = fault.remote_code if isinstance(fault, RemoteFault) else fault.code
    return fault.retryable and (code in _AWAY or failures < RACES_MAX)
