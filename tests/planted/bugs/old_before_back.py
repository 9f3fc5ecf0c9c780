"""A rollout that goes back gives the old release all requests, though nobody of it has come back yet.
Requests are sent to a release of which nobody is there."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import rollout_machine
from hanse.control.rollout import Rollout, Seen

from . import supervised

rolling_back = rollout_machine._rolling_back


def _rolling_back(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    return rolling_back(replace(row, share=0), seen, _seconds)


rollout_machine._BEATS = {**rollout_machine._BEATS, "rolling_back": _rolling_back}


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def old_before_back(world: World) -> None:
    await supervised.story(world)
