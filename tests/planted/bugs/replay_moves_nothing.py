"""A replay takes a dead letter out of its drawer and tells nobody.
A message that is parked at that moment waits behind one that is gone, and its key with it."""

from hanse import World, simulation
from hanse.delivery.deadletter import DeadLetter
from hanse.node.carrying import Carrying
from hanse.store.base import Expect, Position

from . import instead, mended


@instead(Carrying)
async def _moves(self: Carrying, letter: DeadLetter) -> tuple[Expect, Position] | None:
    return None


@simulation(mended.setup, seconds=mended.SECONDS)
async def replay_moves_nothing(world: World) -> None:
    await mended.story(world)
