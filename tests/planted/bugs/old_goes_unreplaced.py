"""A step takes away instances of the old release, though those that came for them have ended meanwhile.
For a moment there are fewer than somebody has asked for."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import rollout_machine
from hanse.control.rollout import Rollout, Seen

from . import instead, supervised

watching = rollout_machine._watching


@instead(rollout_machine)
def _watching(row: Rollout, seen: Seen, seconds: float) -> Rollout:
    return watching(replace(row, old_count=row.now.old), seen, seconds)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def old_goes_unreplaced(world: World) -> None:
    await supervised.story(world)
