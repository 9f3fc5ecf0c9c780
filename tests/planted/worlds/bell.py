"""A bell strikes every few seconds: never more often than that, whatever the clock on the wall shows."""

import asyncio

from hanse import App, Collection, Resource, Service, World, current, every, simulation
from hanse.sim.setup import Setup

SECONDS = 30.0
PERIOD = 2.0
ROUNDING = 0.001


class Stroke(Resource):
    """One stroke: in which life of its process, the how-manieth of it, and how long after it began."""

    life: str
    number: int
    after: float


class Bell(Service):
    strokes: Collection[Stroke]

    async def started(self) -> None:
        host = current().host
        self._life: str = host.new_id()
        self._began: float = host.monotonic()
        self._number: int = 0

    @every(PERIOD)
    async def strike(self) -> None:
        self._number += 1
        after = current().host.monotonic() - self._began
        await self.strokes.create(Stroke(life=self._life, number=self._number, after=after))


setup = Setup(app=App("bell", Bell))


async def story(world: World) -> None:
    world.always("the bell strikes once per period at most", lambda: strokes_are_rare(world))
    before = len(world.rows(Stroke))
    await asyncio.sleep(world.seconds)
    world.eventually("the bell goes on", lambda: len(world.rows(Stroke)) > before)


def strokes_are_rare(world: World) -> None:
    for stroke in world.rows(Stroke):
        # The first of a life is due whenever it would have been without the death before, or half a period ago.
        due = 1 + int((stroke.after + PERIOD / 2 + ROUNDING) / PERIOD)
        assert stroke.number <= due, f"{stroke.number} strokes after {stroke.after:.2f} s, {due} were due"


@simulation(setup, seconds=SECONDS)
async def bell(world: World) -> None:
    await story(world)
