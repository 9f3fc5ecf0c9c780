"""A rule leaves rows alone until their time, and lets those of different keys take turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hanse.contract.model import Resource
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.service.agenda import LANE_WAITING_MAX
from hanse.service.held import Held, Leases
from hanse.service.local import LocalCollection
from hanse.service.reaction import Rule, reaction_of, rule
from hanse.service.rules import Call, RuleJob, RuleRunner
from hanse.store.memory import MemoryStore

pytestmark = pytest.mark.virtual_time


class Job(Resource):
    customer: str = ""
    due: float = 0.0
    state: str = "new"


class Worker:
    """Notes when it did what, and waits at the jobs of one customer for ever."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.done: list[tuple[str, float]] = []
        self.stuck = asyncio.Event()

    @rule(
        Job,
        where=lambda job: job.state == "new",
        every="60s",
        lease="1h",
        concurrency=8,
        at=lambda job: job.due,
        per=lambda job: job.customer,
        per_concurrency=2,
    )
    async def work(self, job: Held[Job]) -> None:
        if job.value.customer == "slow":
            await self.stuck.wait()
        self.done.append((job.value.id, self.host.monotonic()))
        if job.value.id == "again" and len(self.done) < 3:
            await job.patch(due=self.host.now() + 20.0)
        else:
            await job.patch(state="done")


@asynccontextmanager
async def working(host: Host, jobs: LocalCollection[Job], worker: Worker) -> AsyncIterator[RuleRunner[Job]]:
    await jobs._store.open([jobs.schema])

    async def unit(call: Call) -> None:
        context = Context(host, store=jobs._store)
        token = ambient.set(context)
        try:
            await call()
            if context.work is not None:
                await context.work.commit()
        finally:
            ambient.reset(token)

    said = reaction_of(Worker.work)
    assert isinstance(said, Rule)
    runner = RuleRunner(RuleJob("w.work", said, jobs, worker.work), unit, leases=Leases(), host=host)
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        try:
            yield runner
        finally:
            await runner.stop(grace=0.0)


@pytest.fixture
def jobs(host: Host) -> LocalCollection[Job]:
    return LocalCollection(Job, MemoryStore(host=host))


async def test_a_row_is_looked_at_at_its_time_however_far_that_is(host: Host, jobs: LocalCollection[Job]) -> None:
    worker = Worker(host)
    async with working(host, jobs, worker) as runner:
        begun = host.monotonic()
        await jobs.create(Job(id="far", due=host.now() + 86_400.0))
        await jobs.create(Job(id="near", due=host.now() + 30.0))
        await jobs.create(Job(id="now"))
        await asyncio.sleep(100_000)
        assert runner.idle
    assert [(id, round(at - begun)) for id, at in worker.done] == [("now", 0), ("near", 30), ("far", 86_400)]


async def test_a_run_may_give_its_row_another_time(host: Host, jobs: LocalCollection[Job]) -> None:
    worker = Worker(host)
    async with working(host, jobs, worker):
        begun = host.monotonic()
        await jobs.create(Job(id="again"))
        await asyncio.sleep(1_000)
    assert [(id, round(at - begun)) for id, at in worker.done] == [("again", 0), ("again", 20), ("again", 40)]


async def test_a_time_that_is_moved_counts(host: Host, jobs: LocalCollection[Job]) -> None:
    worker = Worker(host)
    async with working(host, jobs, worker):
        begun = host.monotonic()
        await jobs.create(Job(id="a", due=host.now() + 50.0))
        await asyncio.sleep(1)
        await jobs.patch("a", due=host.now() + 9.0)
        await asyncio.sleep(1_000)
    assert [(id, round(at - begun)) for id, at in worker.done] == [("a", 10)]


async def test_who_has_much_and_slow_work_keeps_no_other_waiting(host: Host, jobs: LocalCollection[Job]) -> None:
    worker = Worker(host)
    async with working(host, jobs, worker):
        for n in range(3 * LANE_WAITING_MAX):
            await jobs.create(Job(id=f"slow{n}", customer="slow"))
        await jobs.create(Job(id="quick", customer="quick"))
        await asyncio.sleep(1)
        assert [id for id, _ in worker.done] == ["quick"]


async def test_all_of_a_lane_are_worked_on_without_waiting_for_a_sweep(host: Host, jobs: LocalCollection[Job]) -> None:
    worker = Worker(host)
    await jobs._store.open([jobs.schema])
    for n in range(3 * LANE_WAITING_MAX):
        await jobs.create(Job(id=str(n), customer="much"))
    async with working(host, jobs, worker):
        await asyncio.sleep(1)
        assert len(worker.done) == 3 * LANE_WAITING_MAX


def test_what_names_no_single_field_is_refused() -> None:
    with pytest.raises(Misdeclared, match="one field of Job"):
        rule(Job, per=lambda job: (job.customer, job.id))  # type: ignore[return-value,arg-type]
