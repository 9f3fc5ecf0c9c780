"""A copy that is made anew removes nothing that the new snapshot does not tell of.
Rows that went while the log was forgotten stay for ever."""

from hanse import World, simulation
from hanse.service.replica import Copied
from hanse.service.replicator import Replicator

from . import instead, mirror


@instead(Replicator)
async def _remove_others(self: Replicator, keep: frozenset[str], state: Copied) -> Copied:
    return state


@simulation(mirror.setup, seconds=mirror.SECONDS)
async def copy_keeps_what_went(world: World) -> None:
    await mirror.story(world)
