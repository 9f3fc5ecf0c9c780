"""Readers follow a shelf that is written all the time: each sees every change once, and in the end what is there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast, final

from hanse import (
    App,
    Collection,
    Created,
    Deleted,
    Existing,
    Fault,
    Ready,
    Reset,
    Resource,
    Service,
    Updated,
    World,
    simulation,
)
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.service.change import Followed
from hanse.sim.setup import Setup

SECONDS = 20.0
RATE = 8.0
ITEMS = 12
READERS = 3
ANEW = 0.3
"""Share of the times that a reader comes back without its cursor."""


class Item(Resource):
    left: int = 0


class Shelf(Service):
    items: Collection[Item]


setup = Setup(app=App("follower", Shelf))
lossy = Setup(app=setup.app, settings=Settings(node=NodeSettings(store="sqlite:///{service}.db?synchronous=normal")))
"""The same, but that commits do not wait for the disk: a power cut may take the last ones, and says so."""


@final
class Picture:
    """What one reader was told, by id and revision; it finds what does not follow from what it was told before."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.cursor: str | None = None
        self.ready: bool = False

    def take(self, told: Followed[Item]) -> str | None:
        """Take in what was told; what is wrong with it, if anything is."""
        match told:
            case Existing(value=item):
                self.rows[item.id] = item.rev
                return None
            case Reset():
                self.forget()
                return None
            case Ready(cursor=cursor):
                self.cursor = cursor
                return None
            case Created(after=item):
                wrong = f"{item.id} was created twice" if item.id in self.rows else None
                self.rows[item.id] = item.rev
            case Updated(before=before, after=item):
                known = self.rows.get(item.id)
                wrong = f"{item.id} was at {known}, then not at {before.rev}" if known != before.rev else None
                self.rows[item.id] = item.rev
            case Deleted(before=item):
                known = self.rows.pop(item.id, None)
                wrong = f"{item.id} was at {known}, then deleted at {item.rev}" if known != item.rev else None
        # Before `Ready` there is nothing to come back with.
        self.cursor = told.cursor if self.cursor is not None else None
        return wrong

    def forget(self) -> None:
        """Start anew."""
        self.rows.clear()
        self.cursor = None


async def story(world: World) -> None:
    pictures = [Picture() for _ in range(READERS)]
    world.eventually("readers see what is there", lambda: pictures_are_right(world, pictures))
    readers = Tasks(lambda error: world.violate("reader", repr(error)))
    items = world.collection(Item)
    for number, picture in enumerate(pictures):
        readers.start(read(world, items, number, picture))
    async with asyncio.TaskGroup() as group:
        async for _ in world.arrivals(rate=RATE):
            group.create_task(write(world, items, f"item-{world.chance.randrange(ITEMS)}"))


async def write(world: World, items: Collection[Item], id: str) -> None:
    draw = world.chance.random()
    try:
        if draw < 0.2:
            await items.delete(id)
        else:
            await items.put(Item(id=id, left=world.chance.randrange(100)))
    except Fault:
        world.sometimes("no answer")


async def read(world: World, items: Collection[Item], number: int, picture: Picture) -> None:
    """Follow for ever: until the connection breaks, or for some seconds; then come back, mostly with the cursor."""
    while True:
        try:
            async with asyncio.timeout(world.chance.uniform(0.5, 6.0)):
                await follow(world, items, number, picture)
        except (Fault, TimeoutError):
            await asyncio.sleep(world.chance.uniform(0.0, 1.0))
        if picture.cursor is None or (world.chance.random() < ANEW):
            picture.forget()


async def follow(world: World, items: Collection[Item], number: int, picture: Picture) -> None:
    changes = cast("AsyncGenerator[Followed[Item], None]", items.follow(after=picture.cursor))
    async with aclosing(changes):
        async for told in changes:
            if (wrong := picture.take(told)) is not None:
                world.violate("each change follows from the one before", f"to reader {number}, {wrong}")


def pictures_are_right(world: World, pictures: list[Picture]) -> None:
    there = {item.id: item.rev for item in world.rows(Item)}
    for number, picture in enumerate(pictures):
        assert picture.rows == there, f"reader {number} sees {picture.rows}, there is {there}"


@simulation(setup, seconds=SECONDS, sometimes=("no answer",))
async def follower(world: World) -> None:
    await story(world)


@simulation(lossy, profile="power", seconds=SECONDS)
async def lossy_follower(world: World) -> None:
    await story(world)
