"""The edge leaves servers alone without looking how many are left.
Where all fail for a moment, nobody is asked any more."""

from collections.abc import Collection

from hanse import World, simulation
from hanse.control import edge_health

from . import instead, supervised


@instead(edge_health)
def may_eject(server: str, pool: Collection[str], ejected: Collection[str]) -> bool:
    return server in pool


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def all_left_alone(world: World) -> None:
    await supervised.story(world)
