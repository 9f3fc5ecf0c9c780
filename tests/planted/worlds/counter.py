"""Additions to a few counters, each asked for once: a row is read, another is written, and both commit together."""

import asyncio

import msgspec

from hanse import App, Collection, Fault, Resource, Service, World, rpc, simulation
from hanse.sim.setup import Setup

from .common import insist, tells_its_rows

SECONDS = 20.0
RATE = 8.0
NAMES = ("left", "right")


class Tally(Resource):
    """What the additions under its name come to."""

    value: int = 0


class Addition(Resource):
    """One addition; nothing but its note says which."""

    name: str
    by: int
    note: str


class Counting(Service):
    tallies: Collection[Tally]
    additions: Collection[Addition]

    @rpc
    async def add(self, name: str, by: int, note: str) -> Tally:
        tally = await self.tallies.get(name)
        await self.additions.create(Addition(name=name, by=by, note=note))
        return await self.tallies.put(msgspec.structs.replace(tally, value=tally.value + by))


setup = Setup(app=App("counter", Counting))


async def story(world: World) -> None:
    for name in NAMES:
        await insist(world.collection(Tally), Tally(id=name))
    answered: set[str] = set()
    world.always("a tally is the sum of its additions", lambda: sums_are_right(world))
    world.always("what was asked for once is added once", lambda: notes_are_unique(world))
    world.always("what was answered is added", lambda: answered_are_there(world, answered))
    world.eventually("the log tells the rows", lambda: tells_its_rows(world, Counting, Tally, Addition))
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            group.create_task(add(world, answered, f"note-{number}"))


async def add(world: World, answered: set[str], note: str) -> None:
    try:
        await world.client(Counting).add(world.chance.choice(NAMES), world.chance.randint(1, 9), note)
    except Fault:
        world.sometimes("no answer")
    else:
        world.sometimes("answered")
        answered.add(note)


def sums_are_right(world: World) -> None:
    additions = world.rows(Addition)
    for tally in world.rows(Tally):
        total = sum(addition.by for addition in additions if addition.name == tally.id)
        assert tally.value == total, f"{tally.id} is {tally.value}, its additions come to {total}"


def notes_are_unique(world: World) -> None:
    notes = [addition.note for addition in world.rows(Addition)]
    twice = {note for note in notes if notes.count(note) > 1}
    assert not twice, f"{', '.join(sorted(twice))}: added more than once"


def answered_are_there(world: World, answered: set[str]) -> None:
    lost = answered - {addition.note for addition in world.rows(Addition)}
    assert not lost, f"{', '.join(sorted(lost))}: answered, and not there"


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def counter(world: World) -> None:
    await story(world)
