"""Where a release has nobody left, any other one answers, whether it has a share or not.
Who is only mirrored to is heard by visitors."""

from collections.abc import Iterable

from hanse import World, simulation
from hanse.control.edge_choice import Choices, Turns
from hanse.control.edge_table import Target

from . import instead, supervised


@instead(Choices)
def others(self: Choices, target: Target, release: str) -> Iterable[Turns]:
    return [self.pools[target.service, one.release] for one in target.split.shares if one.release != release]


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def others_without_a_share(world: World) -> None:
    await supervised.story(world)
