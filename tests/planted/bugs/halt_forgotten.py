"""A replay goes on however much of it fails again.
What is still broken is tried with every dead letter that there is."""

from hanse import World, simulation
from hanse.delivery import action

from . import broken, instead


@instead(action)
def too_many(succeeded: int, failed: int, share: float) -> bool:
    return False


@simulation(broken.setup, seconds=broken.SECONDS)
async def halt_forgotten(world: World) -> None:
    await broken.story(world)
