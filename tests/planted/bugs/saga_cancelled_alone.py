"""To cancel the job of a saga ends the wait for it, and nothing else.
A saga that somebody has cancelled goes on, and does what its job says was not done."""

import msgspec

from hanse import World, simulation
from hanse.service import job as module
from hanse.service.job import Job

from . import agency, instead


@instead(module)
def cancelled(job: Job, now: float) -> Job:
    return msgspec.structs.replace(job, state="cancelled", open=False, ended_at=now) if job.open else job


@simulation(agency.setup, seconds=agency.SECONDS)
async def saga_cancelled_alone(world: World) -> None:
    await agency.story(world)
