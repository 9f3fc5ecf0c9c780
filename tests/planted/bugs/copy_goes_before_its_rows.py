"""A copy saves how far it has come before the rows that it has from there.
A crash between the two loses them."""

import msgspec

from hanse import World, simulation
from hanse.service.replica import Copied
from hanse.service.replicator import Replicator
from hanse.store.base import Delete, Put

from . import instead, mirror

honest = Replicator._save


@instead(Replicator)
async def _save(self: Replicator, writes: list[Put | Delete], state: Copied) -> Copied:
    state = await honest(self, [], state)
    return await honest(self, writes, state) if writes else msgspec.structs.replace(state)


@simulation(mirror.setup, seconds=mirror.SECONDS)
async def copy_goes_before_its_rows(world: World) -> None:
    await mirror.story(world)
