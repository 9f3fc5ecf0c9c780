"""A rule forgets that a row changed while it was worked on.
What was asked for in that time is not done before the next sweep."""

from hanse import World, simulation
from hanse.service.agenda import Agenda

from . import instead, jobs


@instead(Agenda)
def done(self: Agenda, id: str, rev: int) -> None:
    del self._running[id]
    self._failures.pop(id, None)
    self._settled[id] = rev


@simulation(jobs.setup, seconds=jobs.SECONDS)
async def rule_forgets_changes(world: World) -> None:
    await jobs.story(world)
