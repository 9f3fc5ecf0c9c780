"""Visitors wait at a gate for as long as their calls may take: who was sent away does not get in later."""

import asyncio
from contextlib import suppress

from hanse import App, Collection, Fault, NotFound, Resource, Service, World, current, policy, rpc, simulation
from hanse.sim.setup import Setup

from .common import insist

SECONDS = 20.0
RATE = 3.0
OPEN_EVERY = 4.0
TICK = 0.01
"""Seconds by which a timer may be late."""


class Gate(Resource):
    open: bool = False


class Visit(Resource):
    """Somebody got in, and this was left of the time that the call had."""

    left: float


class Porter(Service):
    @rpc
    async def look(self, visitor: str) -> None:
        await asyncio.sleep(current().host.chance.uniform(0.0, 1.0))


class Turnstile(Service):
    porter: Porter
    gates: Collection[Gate]
    visits: Collection[Visit]

    @rpc
    async def enter(self, visitor: str) -> Visit:
        while not await self._is_open():
            await asyncio.sleep(0.2)
            # As bad libraries do, this takes the end of its time for one more thing that went wrong.
            with suppress(Fault, asyncio.CancelledError):
                await self.porter.look(visitor)
        return await self.visits.create(Visit(id=visitor, left=current().time_left()))

    async def _is_open(self) -> bool:
        with suppress(NotFound):
            return (await self.gates.get("main")).open
        return False


setup = Setup(app=App("gate", Porter, Turnstile))


async def story(world: World) -> None:
    world.always("nobody gets in after their time", lambda: visits_are_right(world))
    gates, turnstile = world.collection(Gate), policy(world.client(Turnstile), timeout="2s")
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(keep(gates))
        async for number in world.arrivals(rate=RATE):
            group.create_task(visit(world, turnstile, f"visitor-{number}"))
        keeper.cancel()


async def keep(gates: Collection[Gate]) -> None:
    """Open the gate for a moment, now and then."""
    while True:
        await asyncio.sleep(OPEN_EVERY)
        await insist(gates, Gate(id="main", open=True))
        await asyncio.sleep(0.5)
        await insist(gates, Gate(id="main", open=False))


async def visit(world: World, turnstile: Turnstile, visitor: str) -> None:
    try:
        await turnstile.enter(visitor)
    except Fault:
        world.sometimes("sent away")
    else:
        world.sometimes("got in")


def visits_are_right(world: World) -> None:
    late = [visit.id for visit in world.rows(Visit) if visit.left < -TICK]
    assert not late, f"{', '.join(late)}: got in after being sent away"


@simulation(setup, seconds=SECONDS, sometimes=("sent away", "got in"))
async def gate(world: World) -> None:
    await story(world)
