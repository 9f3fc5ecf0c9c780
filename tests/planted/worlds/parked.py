"""Some letters cannot be read: they are put aside, and what comes after them waits for them, as it is in order."""

import asyncio

import msgspec

from hanse import App, Collection, Event, Fault, NotFound, Resource, Service, World, on, rpc, simulation
from hanse.delivery.retry import Terminal
from hanse.sim.setup import Setup

SECONDS = 20.0
RATE = 5.0
SENDERS = tuple(f"sender-{number}" for number in range(6))
UNREADABLE = 4
"""Number of the letter of each sender that cannot be read."""


class Letter(Event):
    sender: str
    number: int


class Sent(Resource):
    letters: int = 0


class Shelf(Resource):
    """The numbers of the letters of a sender, as they were read."""

    numbers: list[int]


class Post(Service, events=(Letter,)):
    sent: Collection[Sent]

    @rpc
    async def send(self, sender: str) -> Sent:
        try:
            row = await self.sent.get(sender)
        except NotFound:
            row = await self.sent.create(Sent(id=sender))
        await self.emit(Letter(sender=sender, number=row.letters + 1))
        return await self.sent.put(msgspec.structs.replace(row, letters=row.letters + 1))


class Reader(Service):
    shelves: Collection[Shelf]

    @on(Letter, key=lambda event: event.sender)
    async def read(self, event: Letter) -> None:
        if event.number == UNREADABLE:
            raise Terminal("nobody can read this")
        try:
            shelf = await self.shelves.get(event.sender)
        except NotFound:
            shelf = await self.shelves.create(Shelf(id=event.sender, numbers=[]))
        await self.shelves.put(msgspec.structs.replace(shelf, numbers=[*shelf.numbers, event.number]))


setup = Setup(app=App("parked", Post, Reader), dead_letters=True)


async def story(world: World) -> None:
    world.always("letters are read in order, up to the one that cannot be", lambda: shelves_are_right(world))
    world.eventually("every letter is read or put aside", lambda: nothing_is_lost(world))
    post = world.client(Post)
    async with asyncio.TaskGroup() as group:
        async for _ in world.arrivals(rate=RATE):
            group.create_task(send(world, post, world.chance.choice(SENDERS)))


async def send(world: World, post: Post, sender: str) -> None:
    try:
        await post.send(sender)
        world.sometimes("answered")
    except Fault:
        world.sometimes("no answer")


def shelves_are_right(world: World) -> None:
    for shelf in world.rows(Shelf):
        right = list(range(1, min(len(shelf.numbers) + 1, UNREADABLE)))
        assert shelf.numbers == right, f"of {shelf.id} were read {shelf.numbers}; {UNREADABLE} cannot be"


def nothing_is_lost(world: World) -> None:
    shelves = {shelf.id: len(shelf.numbers) for shelf in world.rows(Shelf)}
    aside = world.query(Reader, "SELECT json_extract(value, '$.key') FROM \"rows:dead_letters\"")
    for sent in world.rows(Sent):
        known = shelves.get(sent.id, 0) + aside.count((sent.id,))
        assert known == sent.letters, f"{sent.id} sent {sent.letters}: {known} are read or put aside"


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def parked(world: World) -> None:
    await story(world)
