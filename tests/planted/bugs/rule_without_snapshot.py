"""A rule hears of changes only, and does not look at the rows that are there.
What changed while its feed was broken, or before it began, is never worked on."""

import asyncio
from contextlib import suppress
from typing import Any

from hanse import World, simulation
from hanse.kernel.faults import Fault
from hanse.service.agenda import rest_after
from hanse.service.rules import RuleRunner

from . import instead, jobs


@instead(RuleRunner)
async def _follow(self: RuleRunner[Any]) -> None:
    while True:
        with suppress(Fault):
            async for change in self._job.rows.changes(self._job.rule.where):
                await self._offer_of(change)
        await asyncio.sleep(rest_after(1, self._host.chance.random()))


@simulation(jobs.setup, seconds=jobs.SECONDS)
async def rule_without_snapshot(world: World) -> None:
    await jobs.story(world)
