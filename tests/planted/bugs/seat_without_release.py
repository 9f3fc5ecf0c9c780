"""The cookie of a visitor names a server, and not its release.
A new release that takes over the name takes over the visitor, too, whatever its share is."""

from hanse import World, simulation
from hanse.control.edge_table import Pool, Server

from . import instead, supervised


@instead(Pool)
def seat(self: Pool, server: Server) -> str:
    return server.id


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def seat_without_release(world: World) -> None:
    await supervised.story(world)
