"""What a replayed handler wrote is committed first, and the end of its dead letter after it.
A replay that is killed in between, or that another one runs beside, takes effect twice."""

from hanse import World, simulation
from hanse.delivery.action import What
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter
from hanse.node.carrying import Carrying
from hanse.service.unit import Unit

from . import instead, mended


@instead(Carrying)
async def _commit(self: Carrying, unit: Unit, letter: DeadLetter, what: What) -> None:
    await unit.commit()
    unit.delete(DEAD_LETTERS, letter.id, letter.rev)
    await self._count(unit, letter, what)


@simulation(mended.setup, seconds=mended.SECONDS)
async def replay_outside_commit(world: World) -> None:
    await mended.story(world)
