"""A node begins by its settings where nobody tells it the routes, though they say that it needs them.
It shares its calls among all releases that there are, also with one that was taken back."""

from hanse import World, simulation
from hanse.node.kept_routes import KeptRoutes

from . import instead, routed


@instead(KeptRoutes)
async def needed(self: KeptRoutes) -> None:
    await self.known()


@simulation(routed.setup, profile="calm", seconds=routed.SECONDS)
async def routes_needed_by_nobody(world: World) -> None:
    await routed.story(world)
