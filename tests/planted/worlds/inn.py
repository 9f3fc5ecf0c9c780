"""Guests come to an inn, each once: nobody is let in twice, and where nobody dies, whoever was let in is served."""

import asyncio
from collections import Counter

from hanse import App, Collection, Fault, Resource, Service, World, current, rpc, simulation
from hanse.sim.profile import Odds, Profile, add_profile
from hanse.sim.setup import Setup

SECONDS = 20.0
RATE = 8.0

ROLLING = add_profile(Profile(name="rolling", per_second=0.2, odds=(Odds("replace", 1.0, (5.0, 8.0)),)))
"""Nothing goes wrong but that processes are replaced, each with time enough to finish."""


class Stay(Resource):
    """Somebody was let in; and whether the inn is done with them."""

    guest: str
    served: bool = False


class Register(Service):
    stays: Collection[Stay]

    @rpc(idempotent=True)
    async def note(self, stay: str, guest: str, served: bool) -> None:
        await self.stays.put(Stay(id=stay, guest=guest, served=served))


class Inn(Service):
    register: Register

    @rpc
    async def serve(self, guest: str) -> None:
        stay = current().host.new_id()
        await self._note(stay, guest, served=False)
        await asyncio.sleep(current().host.chance.uniform(0.1, 1.0))
        await self._note(stay, guest, served=True)

    async def _note(self, stay: str, guest: str, *, served: bool) -> None:
        while True:
            try:
                return await self.register.note(stay, guest, served)
            except Fault:
                await asyncio.sleep(0.1)


setup = Setup(app=App("inn", Register, Inn))


async def story(world: World, *, served: bool = False) -> None:
    """Guests come.

    Args:
        served: Whether whoever is let in has to be served: where processes die, that cannot be.
    """
    world.always("who comes once is let in once", lambda: stays_are_unique(world))
    if served:
        world.eventually("whoever was let in is served", lambda: guests_are_served(world))
    inn = world.client(Inn)
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            group.create_task(visit(world, inn, f"guest-{number}"))


async def visit(world: World, inn: Inn, guest: str) -> None:
    try:
        await inn.serve(guest)
    except Fault:
        world.sometimes("no answer")
    else:
        world.sometimes("answered")


def stays_are_unique(world: World) -> None:
    twice = [guest for guest, times in Counter(stay.guest for stay in world.rows(Stay)).items() if times > 1]
    assert not twice, f"{', '.join(twice)}: let in more than once"


def guests_are_served(world: World) -> None:
    left = [stay.guest for stay in world.rows(Stay) if not stay.served]
    assert not left, f"{', '.join(left)}: let in, and left alone"


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def inn(world: World) -> None:
    await story(world)


@simulation(setup, profile="rolling", seconds=SECONDS, sometimes=("answered", "no answer"))
async def rolling_inn(world: World) -> None:
    await story(world, served=True)
