"""A process that starts does not read which keys have dead letters.
What comes after a parked message is handled before it, once the process was down."""

from hanse import World, simulation
from hanse.delivery.drawers import Drawers

from . import instead, parked


@instead(Drawers)
async def _keys_in(self: Drawers, number: int) -> set[str]:
    return set()


@simulation(parked.setup, seconds=parked.SECONDS)
async def parked_forgotten(world: World) -> None:
    await parked.story(world)
