"""Retries cost nothing: every call is tried again as often as it may.
A service in trouble is asked several times as often as one that is well."""

from hanse import World, simulation
from hanse.mesh.retry import Budget

from . import instead, oracle


@instead(Budget)
def spend(self: Budget) -> bool:
    return True


@simulation(oracle.setup, seconds=oracle.SECONDS)
async def retries_without_budget(world: World) -> None:
    await oracle.story(world)
