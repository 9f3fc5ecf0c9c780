"""The call of a job is made without an idempotency key.
A process that dies between the effect and the note of its answer leaves a job that is done again."""

from hanse import World, simulation
from hanse.node import jobs as runner

from . import instead, office


@instead(runner)
def key_of(job: str) -> str:
    return ""


@simulation(office.setup, seconds=office.SECONDS)
async def job_without_key(world: World) -> None:
    await office.story(world)
