"""An inn is replaced again and again under load: whoever was let in is served, whatever becomes of the process."""

import asyncio

from hanse import App, Collection, Fault, Resource, Service, World, current, rpc, simulation
from hanse.sim.profile import PROFILES, Odds, Profile
from hanse.sim.setup import Setup

SECONDS = 20.0
RATE = 8.0

PROFILES["rolling"] = Profile(name="rolling", per_second=0.2, odds=(Odds("replace", 1.0, (5.0, 8.0)),))
"""Nothing goes wrong but that processes are replaced, each with time enough to finish."""


class Guest(Resource):
    """Somebody who was let in, and whether the inn is done with them."""

    served: bool = False


class Register(Service):
    guests: Collection[Guest]

    @rpc(idempotent=True)
    async def note(self, guest: str, served: bool) -> None:
        await self.guests.put(Guest(id=guest, served=served))


class Inn(Service):
    register: Register

    @rpc
    async def serve(self, guest: str) -> None:
        await self._note(guest, served=False)
        await asyncio.sleep(current().host.chance.uniform(0.1, 1.0))
        await self._note(guest, served=True)

    async def _note(self, guest: str, *, served: bool) -> None:
        while True:
            try:
                return await self.register.note(guest, served)
            except Fault:
                await asyncio.sleep(0.1)


setup = Setup(app=App("rolling", Register, Inn))


async def story(world: World) -> None:
    world.eventually("whoever was let in is served", lambda: guests_are_served(world))
    inn = world.client(Inn)
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            group.create_task(visit(world, inn, f"guest-{number}"))


async def visit(world: World, inn: Inn, guest: str) -> None:
    try:
        await inn.serve(guest)
    except Fault:
        world.sometimes("not let in")


def guests_are_served(world: World) -> None:
    left = [guest.id for guest in world.rows(Guest) if not guest.served]
    assert not left, f"{', '.join(left)}: let in, and left alone"


@simulation(setup, profile="rolling", seconds=SECONDS)
async def rolling(world: World) -> None:
    await story(world)
