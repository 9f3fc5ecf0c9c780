"""A rollout goes on as soon as one node has said that it goes by its route, and not when all have.
Whoever has not heard of it goes on to ask a release that has no share."""

from collections.abc import Mapping

from hanse import World, simulation
from hanse.control import releases
from hanse.control.ground import Sight

from . import instead, routed


@instead(releases)
def is_heeded(sight: Sight, heard: Mapping[str, int], position: int) -> bool:
    return any(heard.get(name, -1) >= position for name in sight.callers)


@simulation(routed.setup, profile="calm", seconds=routed.SECONDS)
async def route_heard_by_one(world: World) -> None:
    await routed.story(world)
