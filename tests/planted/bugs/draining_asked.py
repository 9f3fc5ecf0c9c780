"""The edge takes a server that drains for one that is up.
It gets requests until it ends, and loses the last of them."""

from hanse import World, simulation
from hanse.control import edge_choice
from hanse.control.edge_choice import Turns
from hanse.control.edge_table import Pool

from . import instead, supervised

begun = Turns.__init__


@instead(Turns)
def __init__(self: Turns, pool: Pool) -> None:  # noqa: N807 - it is in the place of that one
    begun(self, pool)
    self.up = tuple(one for one in pool.servers if one.state != "down" and one.weight)
    self.order = edge_choice._spread(self.up)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def draining_asked(world: World) -> None:
    await supervised.story(world)
