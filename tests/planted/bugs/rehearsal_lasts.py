"""A dry run commits what the handler wrote.
An operator who only looks has a letter take effect, and once more when it is replayed."""

from hanse import World, simulation
from hanse.kernel.host import Host
from hanse.node import rehearsal
from hanse.node.hosted import Hosted
from hanse.service.unit import Unit
from hanse.store.base import Batch

from . import broken, instead


@instead(rehearsal)
async def _give_back(unit: Unit, hosted: Hosted, host: Host) -> None:
    _ = await hosted.store.commit(Batch(host.now(), unit.writes))


@simulation(broken.setup, seconds=broken.SECONDS)
async def rehearsal_lasts(world: World) -> None:
    await broken.story(world)
