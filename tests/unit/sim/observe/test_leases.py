"""No row is held twice, and no run commits once its lease is over."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from hanse import App, Collection, Fault, Held, Resource, Service, World, current, rule
from hanse.kernel.context import Work
from hanse.kernel.tasks import Tasks
from hanse.service.held import Leases
from hanse.service.reaction import Rule, reaction_of
from hanse.service.rules import RuleJob, RuleRunner

Watch = Callable[..., list[str]]
Call = Callable[[], Any]


class Job(Resource):
    done: int = 0


class Worker(Service):
    jobs: Collection[Job]

    @rule(Job, where=lambda job: job.done < 3, every="5s", lease="4s", concurrency=3)
    async def work(self, job: Held[Job]) -> None:
        await asyncio.sleep(current().host.chance.uniform(0.0, 5.0))
        await job.patch(done=job.value.done + 1)


class Hasty(Worker, name="worker"):
    """Runs its rule once more, beside the node, with leases that nobody else knows of."""

    async def started(self) -> None:
        self.tasks = Tasks(print)
        job = RuleJob("worker.work", cast("Rule", reaction_of(Worker.work)), self.jobs, self.work)

        async def run(call: Call) -> None:
            await call()

        runner: RuleRunner[Any] = RuleRunner(job, run, leases=Leases(), host=current().host)
        _ = self.tasks.start(runner.run())

    async def stopping(self) -> None:
        await self.tasks.cancel()


class Deaf(Service, name="worker"):
    """Does not hear that its time is over."""

    jobs: Collection[Job]

    @rule(Job, every="1m", lease="2s")
    async def work(self, job: Held[Job]) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10.0)
        await self.jobs.patch(job.value.id, done=1)
        await cast("Work", current().work).commit()


async def adding(world: World) -> None:
    jobs = world.collection(Job)
    async for number in world.arrivals(rate=2.0):
        with suppress(Fault):
            _ = await jobs.put(Job(id=str(number % 5)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("profile", ["hostile", "power", "deploy"])
def test_right_rules_hold_rows_once_and_in_time(watch: Watch, seed: int, profile: str) -> None:
    assert watch(App("jobs", Worker), adding, plan=None, profile=profile, seed=seed) == []


def test_two_runs_at_one_row_are_told(watch: Watch) -> None:
    told = watch(App("jobs", Hasty), adding)
    assert told[0].startswith("leases: worker runs worker.work for '")
    assert "which worker holds for another 3." in told[0] or "which worker holds for another 4." in told[0]


def test_a_commit_after_the_lease_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        _ = await world.collection(Job).put(Job(id="a"))
        await world.advance("20s")

    told = watch(App("jobs", Deaf), story)
    assert told[0].startswith("leases: worker commits what worker.work for 'a' did, 0.000 s after")


def test_who_is_late_is_in_nobodys_way(watch: Watch) -> None:
    """A pause takes a run past its lease; the next one of the row may begin."""

    async def story(world: World) -> None:
        for number in range(10):
            with suppress(Fault):
                _ = await world.collection(Job).put(Job(id=str(number % 2)))
            world.pause(Worker, "5s")
            await world.advance("6s")

    assert watch(App("jobs", Worker), story) == []


@pytest.mark.usefixtures("untraced")
def test_runs_that_are_over_are_forgotten(watch: Watch) -> None:
    async def story(world: World) -> None:
        for number in range(1_200):
            _ = await world.collection(Job).put(Job(id=str(number)))
        await world.advance("30m")

    class Quick(Worker, name="worker"):
        @rule(Job, where=lambda job: job.done < 1, lease="4s", concurrency=100)
        async def work(self, job: Held[Job]) -> None:
            await job.patch(done=1)

    assert watch(App("jobs", Quick), story, seconds=3600.0) == []
