"""Some letters cannot be read until somebody mends the reader; then they are replayed, each sender's in order."""

import asyncio

import msgspec

from hanse import App, Collection, Event, Fault, NotFound, Resource, Service, Terminal, World, on, rpc, simulation
from hanse.delivery.action import Selection
from hanse.node.letters import Letters
from hanse.sim.setup import Setup

from .common import TRIES

SECONDS = 20.0
RATE = 6.0
SENDERS = tuple(f"sender-{number}" for number in range(4))
HARD = 3
"""Every so manieth letter of a sender cannot be read without glasses."""

GLASSES = "glasses"


class Post(Event):
    sender: str
    number: int


class Sent(Resource):
    letters: int = 0


class Shelf(Resource):
    """The numbers of the letters of a sender, as they were read."""

    numbers: list[int]


class Office(Service, events=(Post,)):
    sent: Collection[Sent]

    @rpc
    async def send(self, sender: str) -> None:
        try:
            row = await self.sent.get(sender)
        except NotFound:
            row = await self.sent.create(Sent(id=sender))
        await self.emit(Post(sender=sender, number=row.letters + 1))
        await self.sent.put(msgspec.structs.replace(row, letters=row.letters + 1))


class Desk(Service):
    shelves: Collection[Shelf]

    @rpc(idempotent=True)
    async def mend(self) -> None:
        await self.shelves.put(Shelf(id=GLASSES, numbers=[]))

    @on(Post, key=lambda event: event.sender)
    async def read(self, event: Post) -> None:
        if event.number % HARD == 0:
            try:
                await self.shelves.get(GLASSES)
            except NotFound:
                raise Terminal("nobody can read this") from None
        try:
            shelf = await self.shelves.get(event.sender)
        except NotFound:
            shelf = await self.shelves.create(Shelf(id=event.sender, numbers=[]))
        await self.shelves.put(msgspec.structs.replace(shelf, numbers=[*shelf.numbers, event.number]))


setup = Setup(app=App("mended", Office, Desk), dead_letters=True)


async def story(world: World) -> None:
    world.always("letters are read once and in order", lambda: shelves_are_right(world))
    world.eventually("every letter is read", lambda: all_is_read(world))
    office = world.client(Office)
    async with asyncio.TaskGroup() as group:
        group.create_task(mend(world))
        async for _ in world.arrivals(rate=RATE):
            group.create_task(send(world, office, world.chance.choice(SENDERS)))


async def send(world: World, office: Office, sender: str) -> None:
    try:
        await office.send(sender)
        world.sometimes("answered")
    except Fault:
        world.sometimes("no answer")


async def mend(world: World) -> None:
    """Halfway the reader is mended, and what is parked is replayed by two who know nothing of each other."""
    await asyncio.sleep(SECONDS / 2)
    desk, letters = world.client(Desk), world.letters(Desk)
    for _ in range(TRIES):
        try:
            await desk.mend()
            break
        except Fault:
            await asyncio.sleep(0.5)
    await asyncio.gather(replay(world, letters), replay(world, letters))


async def replay(world: World, letters: Letters) -> None:
    """Replay one by one and all together, until nothing is left."""
    for _ in range(TRIES):
        try:
            page = await letters.find(Selection(code="terminal"), limit=1)
            chosen = [Selection(ids=(line.id,)) for line in page.items] or [Selection()]
            await letters.replay(world.chance.choice([*chosen, Selection()]), halt=1.0)
            if not await letters.count(Selection()) and world.time > SECONDS:
                return
        except Fault:
            world.sometimes("no answer")
        await asyncio.sleep(world.chance.uniform(0.2, 1.5))


def shelves_are_right(world: World) -> None:
    for shelf in world.rows(Shelf):
        assert shelf.numbers == list(range(1, len(shelf.numbers) + 1)), f"of {shelf.id} were read {shelf.numbers}"


def all_is_read(world: World) -> None:
    shelves = {shelf.id: len(shelf.numbers) for shelf in world.rows(Shelf)}
    for sent in world.rows(Sent):
        assert shelves.get(sent.id, 0) == sent.letters, f"{sent.id} sent {sent.letters}, read are {shelves}"


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def mended(world: World) -> None:
    await story(world)
