"""A relay saves the position that it has read up to, and not the one that is acknowledged.
What was under way when it died is never delivered."""

from hanse import World, simulation
from hanse.delivery.window import Window

from . import ledger

Window.position = property(lambda self: self.reached)  # type: ignore[method-assign, assignment]


@simulation(ledger.setup, profile="deploy", seconds=ledger.SECONDS)
async def position_of_taken(world: World) -> None:
    await ledger.story(world)
