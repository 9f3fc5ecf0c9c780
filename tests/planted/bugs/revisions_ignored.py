"""The store does not look at the revision that a row is expected at.
Of two who read the same row, the second overwrites what the first wrote."""

from hanse import World, simulation
from hanse.store import plan
from hanse.store.base import Delete, Put, Row

from . import counter, instead


@instead(plan)
def _expect(write: Put | Delete, before: Row | None) -> None:
    pass


@simulation(counter.setup, seconds=counter.SECONDS)
async def revisions_ignored(world: World) -> None:
    await counter.story(world)
