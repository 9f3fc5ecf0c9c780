"""A message does not wait behind one of its key that was parked.
What comes after it is handled before it."""

from hanse import World, simulation
from hanse.delivery.deadletter import DeadLetter
from hanse.delivery.drawers import Drawer, Drawers

from . import instead, parked


@instead(Drawers)
async def blocker(self: Drawers, key: str) -> tuple[Drawer, DeadLetter | None]:
    return await self.look(key), None


@simulation(parked.setup, seconds=parked.SECONDS)
async def parked_overtaken(world: World) -> None:
    await parked.story(world)
