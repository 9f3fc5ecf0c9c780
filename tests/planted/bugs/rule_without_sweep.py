"""A rule looks at rows that change, and never again at those that do not.
What is to be done after some time is not done.
"""

from typing import Any

from hanse import World, simulation
from hanse.service.rules import RuleRunner

from . import instead, jobs


@instead(RuleRunner)
async def _sweep(self: RuleRunner[Any]) -> None:
    pass


@simulation(jobs.setup, seconds=jobs.SECONDS)
async def rule_without_sweep(world: World) -> None:
    await jobs.story(world)
