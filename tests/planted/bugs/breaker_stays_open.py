"""A breaker that has opened lets no probe through.
A service that was away for some seconds is never asked again."""

from hanse import World, simulation
from hanse.mesh.breaker import Breaker

from . import instead, oracle


@instead(Breaker)
def allows(self: Breaker, now: float) -> bool:
    return self.closed


@simulation(oracle.setup, seconds=oracle.SECONDS)
async def breaker_stays_open(world: World) -> None:
    await oracle.story(world)
