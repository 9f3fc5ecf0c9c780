"""A rollout goes on whatever the judge says of it.
A release that fails comes to everybody."""

from hanse import World, simulation
from hanse.control import rollout_machine
from hanse.control.rollout import Rollout, Seen

from . import instead, supervised


@instead(rollout_machine)
def _harm(row: Rollout, seen: Seen) -> str:
    return ""


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def harm_ignored(world: World) -> None:
    await supervised.story(world)
