"""A message does not wait behind one of its key that was parked.
What comes after it is handled before it."""

from hanse import World, simulation
from hanse.delivery.deadletter import DeadLetter
from hanse.delivery.inbox import Inbox

from . import instead, parked


@instead(Inbox)
async def _blocker(self: Inbox, key: str) -> DeadLetter | None:
    return None


@simulation(parked.setup, seconds=parked.SECONDS)
async def parked_overtaken(world: World) -> None:
    await parked.story(world)
