"""A rollout that goes back ends the new instances without waiting for all to know that they have no share.
Whoever has not heard of it asks for those who are gone."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import rollout_machine
from hanse.control.rollout import Rollout, Seen

from . import supervised

rolling_back = rollout_machine._rolling_back


def _rolling_back(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    return rolling_back(row, replace(seen, share=0, mirrored=0), _seconds)


rollout_machine._BEATS = {**rollout_machine._BEATS, "rolling_back": _rolling_back}


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def new_gone_too_early(world: World) -> None:
    await supervised.story(world)
