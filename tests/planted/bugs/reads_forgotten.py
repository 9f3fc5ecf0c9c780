"""A unit of work forgets which revisions its handler has read.
What it writes because of what it read overwrites what others wrote meanwhile.
"""

from hanse import World, simulation
from hanse.service.unit import Unit

from . import instead, jobs


@instead(Unit)
def saw(self: Unit, collection: str, id: str, rev: int) -> None:
    pass


@simulation(jobs.setup, seconds=jobs.SECONDS)
async def reads_forgotten(world: World) -> None:
    await jobs.story(world)
