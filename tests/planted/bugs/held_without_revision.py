"""What a rule writes to the row that it holds is not tied to the revision that it found.
It overwrites what others wrote meanwhile."""

from typing import TypeVar

from hanse import Resource, World, simulation
from hanse.service.held import Held

from . import instead, jobs

R = TypeVar("R", bound=Resource)


@instead(Held)
async def patch(self: Held[R], **changes: object) -> R:
    self.check()
    self.value = await self._rows.patch(self.value.id, if_match=None, **changes)
    return self.value


@simulation(jobs.setup, seconds=jobs.SECONDS)
async def held_without_revision(world: World) -> None:
    await jobs.story(world)
