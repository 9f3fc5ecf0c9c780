"""A visitor's session is looked for once the release was chosen, and not before.
Each step of a rollout ends the sessions of those who come to the new release by it."""

from hanse import World, simulation
from hanse.control.edge_choice import Asking, Choices
from hanse.control.edge_table import Target

from . import instead, supervised


@instead(Choices)
def _session(self: Choices, target: Target, asking: Asking) -> str:
    return ""


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def seat_within_release(world: World) -> None:
    await supervised.story(world)
