"""A release set that goes back asks that of a rollout, too, that somebody has brought to its end.
It is refused, and the set waits for ever."""

from hanse import World, simulation
from hanse.control import release_set
from hanse.control.release_set import Doing, ReleaseSet
from hanse.control.rollout import Rollout

from . import instead, supervised

back = release_set._back


@instead(release_set)
def _back(row: ReleaseSet, begun: list[Rollout]) -> Doing:
    done = next((one.service for one in begun if one.state == "done"), "")
    return Doing(row, abort=done) if done else back(row, begun)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def set_waits_for_the_past(world: World) -> None:
    await supervised.story(world)
