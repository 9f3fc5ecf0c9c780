"""A process that starts does not read which keys have dead letters.
What comes after a parked message is handled before it, once the process was down."""

from hanse import World, simulation
from hanse.delivery.inbox import Inbox

from . import instead, parked


@instead(Inbox)
async def open(self: Inbox) -> None:  # noqa: A001 - the method's name
    pass


@simulation(parked.setup, seconds=parked.SECONDS)
async def parked_forgotten(world: World) -> None:
    await parked.story(world)
