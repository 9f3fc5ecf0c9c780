"""The moment of a schedule is remembered a bit after what was done at it, and not with it.
A process that dies between the two does it again when it is back."""

import asyncio
from contextlib import suppress

from hanse import Fault, World, simulation
from hanse.delivery.schedule import ScheduleRunner
from hanse.node.background import StoredMoments
from hanse.store.base import Batch, Position

from . import calendar, instead

at_that_place = StoredMoments.at
ran = ScheduleRunner._run_once


@instead(StoredMoments)
def at(self: StoredMoments, moment: float) -> Position:
    """Where nobody looks."""
    return Position(f"{self._place}/done", round(moment))


@instead(StoredMoments)
async def note(self: StoredMoments, moment: float) -> None:
    _ = await self._store.commit(Batch(self._host.now(), positions=(at_that_place(self, moment),)))


@instead(ScheduleRunner)
async def _run_once(self: ScheduleRunner, moment: float) -> None:
    await ran(self, moment)
    await asyncio.sleep(0.5)
    with suppress(Fault):
        if self._moments is not None:
            await self._moments.note(moment)


@simulation(calendar.setup, seconds=calendar.SECONDS)
async def schedule_noted_apart(world: World) -> None:
    await calendar.story(world)
