"""A read that has to be fresh waits for nothing.
A handler does not see what was written before it was called."""

from hanse import World, simulation
from hanse.contract.model import Resource
from hanse.service.replica import AtLeast
from hanse.service.replicated import ReplicaOf

from . import instead, mirror


@instead(ReplicaOf)
async def _fresh(self: ReplicaOf[Resource], at_least: AtLeast) -> None:
    """As if nobody had asked."""


@simulation(mirror.setup, seconds=mirror.SECONDS)
async def copy_reads_at_once(world: World) -> None:
    await mirror.story(world)
