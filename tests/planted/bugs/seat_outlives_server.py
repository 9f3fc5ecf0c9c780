"""A visitor keeps the seat at a server that drains.
It never gets rid of its visitors, and loses their last requests when it ends."""

from hanse import World, simulation
from hanse.control.edge_choice import Turns
from hanse.control.edge_table import Pool

from . import instead, supervised

in_order = Turns.__init__


@instead(Turns)
def __init__(self: Turns, pool: Pool) -> None:  # noqa: N807 - it is in the place of that one
    in_order(self, pool)
    self.seats = {pool.seat(one): one for one in pool.servers} if pool.sticky else {}


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def seat_outlives_server(world: World) -> None:
    await supervised.story(world)
