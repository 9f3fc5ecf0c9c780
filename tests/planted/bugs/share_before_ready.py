"""A step asks for its share before its instances are up.
Requests go to a release of which nobody is there."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import rollout_machine
from hanse.control.rollout import Crew, Rollout, Seen

from . import supervised

deploying = rollout_machine._deploying
stepping = rollout_machine._stepping


def _up(row: Rollout, seen: Seen) -> Seen:
    return seen if row.shown else replace(seen, new=Crew(row.new_count, row.new_count))


def _deploying(row: Rollout, seen: Seen, _seconds: float) -> Rollout:
    return deploying(row, _up(row, seen), _seconds)


def _stepping(row: Rollout, seen: Seen, seconds: float) -> Rollout:
    return stepping(row, _up(row, seen), seconds)


rollout_machine._BEATS = {**rollout_machine._BEATS, "deploying": _deploying, "stepping": _stepping}


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def share_before_ready(world: World) -> None:
    await supervised.story(world)
