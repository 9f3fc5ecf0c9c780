"""A job counts as done as soon as it is begun.
One whose process dies meanwhile is never done."""

import msgspec

from hanse import World, simulation
from hanse.node import jobs as runner
from hanse.service.job import Job

from . import instead, office


@instead(runner)
def begun(job: Job) -> Job:
    return msgspec.structs.replace(job, state="done", attempts=1, open=job.attempts == 0)


@simulation(office.setup, seconds=office.SECONDS)
async def job_done_when_begun(world: World) -> None:
    await office.story(world)
