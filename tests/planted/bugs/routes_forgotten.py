"""A node that follows the routes anew forgets what it knew of them, until it has been told again.
While whoever keeps them is away, its calls go to all releases."""

from hanse import World, simulation
from hanse.node.kept_routes import KeptRoutes

from . import instead, routed

follow_in_order = KeptRoutes._follow


@instead(KeptRoutes)
async def _follow(self: KeptRoutes) -> None:
    self._go_by({})
    await follow_in_order(self)


@simulation(routed.setup, profile="calm", seconds=routed.SECONDS)
async def routes_forgotten(world: World) -> None:
    await routed.story(world)
