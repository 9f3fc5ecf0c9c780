"""Every minute a leaf is torn off a calendar: one, whoever dies meanwhile, and whatever the clock on the wall does."""

import asyncio
from collections import Counter

from hanse import App, Collection, Resource, Service, World, cron, current, simulation
from hanse.sim.setup import Setup

SECONDS = 240.0
MINUTE = 60.0


class Leaf(Resource):
    """That of a minute, counted from 1970."""

    minute: int


class Calendar(Service):
    leaves: Collection[Leaf]

    @cron("* * * * *")
    async def tear(self) -> None:
        # One that passed while nobody was there is torn off late, but within the first half of its minute.
        await self.leaves.create(Leaf(minute=int(current().host.now() // MINUTE)))


setup = Setup(app=App("calendar", Calendar))


async def story(world: World) -> None:
    world.always("one leaf is torn off in a minute", lambda: leaves_are_right(world))
    await asyncio.sleep(world.seconds)


def leaves_are_right(world: World) -> None:
    twice = [minute for minute, count in Counter(leaf.minute for leaf in world.rows(Leaf)).items() if count > 1]
    assert not twice, f"torn off twice: the leaves of the minutes {twice}"
    if world.rows(Leaf):
        world.sometimes("torn off")


@simulation(setup, seconds=SECONDS, sometimes=("torn off",))
async def calendar(world: World) -> None:
    await story(world)
