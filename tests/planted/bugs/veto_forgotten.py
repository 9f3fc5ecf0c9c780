"""A release that did harm is not to blame for it once it was rolled back.
It is released again, and does harm again."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import rollout_machine
from hanse.control.rollout import Rollout

from . import instead, supervised

back = rollout_machine._back


@instead(rollout_machine)
def _back(row: Rollout, why: str, *, at: float, who: str = "", evidence: str = "", blamed: bool = False) -> Rollout:
    return replace(back(row, why, at=at, who=who, evidence=evidence, blamed=blamed), blamed=False)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def veto_forgotten(world: World) -> None:
    await supervised.story(world)
