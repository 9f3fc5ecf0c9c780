"""A group that fails at everything is given everything all the same.
A backlog that only had to wait until something is mended is drained into the dead letters."""

from hanse import World, simulation
from hanse.delivery.brake import Brake

from . import broken, instead


@instead(Brake)
def wait(self: Brake, id: str, *, now: float) -> float:
    return 0.0


@simulation(broken.setup, seconds=broken.SECONDS)
async def brake_never_held(world: World) -> None:
    await broken.story(world)
