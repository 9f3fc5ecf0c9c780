"""A window shows what a shelf elsewhere has, from a copy of its own: whatever goes wrong, it comes to what is there."""

import asyncio
from typing import cast

from hanse import App, Collection, Fault, Replica, Resource, Service, World, replica, rpc, simulation
from hanse.kernel.settings import NodeSettings, Settings
from hanse.service.replicated import ReplicaOf
from hanse.sim.setup import Setup

SECONDS = 20.0
RATE = 8.0
ITEMS = 12
TRIMS = 0.1
"""Share of the writes after which the shelf forgets its log."""
KEPT = 8
"""Entries that it keeps: about a second's, so that only who was away for longer is told to begin anew."""


class Item(Resource):
    left: int = 0
    shown: bool = True


class Shown(Resource):
    """What the window needs of an item."""

    left: int


class Shelf(Service, owns=(Item,)):
    items: Collection[Item]


class Window(Service):
    items: Replica[Item]
    shown: Replica[Shown] = replica(Shown, of=Item, where=lambda item: item.shown)

    @rpc
    async def look(self, id: str, rev: int) -> int:
        """The revision of an item, once the copy has come to one."""
        return (await self.items.get(id, at_least=rev)).rev


setup = Setup(app=App("mirror", Shelf, Window))
lossy = Setup(app=setup.app, settings=Settings(node=NodeSettings(store="sqlite:///{service}.db?synchronous=normal")))
"""The same, but that commits do not wait for the disk: a power cut may take the last ones, and says so."""


async def story(world: World, *, fresh: bool = True) -> None:
    world.eventually("the copy has what is there", lambda: has_all(world))
    async with asyncio.TaskGroup() as group:
        async for _ in world.arrivals(rate=RATE):
            group.create_task(write(world, f"item-{world.chance.randrange(ITEMS)}", fresh=fresh))


async def write(world: World, id: str, *, fresh: bool) -> None:
    items = world.collection(Item)
    draw = world.chance.random()
    try:
        if draw < 0.2:
            await items.delete(id)
            return
        item = await items.put(Item(id=id, left=world.chance.randrange(100), shown=draw < 0.7))
        if draw > 1.0 - TRIMS:
            await forget(world)
        seen = await world.client(Window).look(id, item.rev)
    except Fault:
        world.sometimes("no answer")
        return
    if fresh and seen < item.rev:
        world.violate("a fresh read has what was written before it", f"{id} is at {item.rev}, and was seen at {seen}")


async def forget(world: World) -> None:
    """The shelf forgets its log but for the end, as it does when that is old."""
    node = world.machine_of(Shelf).node
    if node is not None and node.hosted:
        store = node.hosted[0].store
        _ = await store.trim(node.host.now() + 3600.0, keep_after=await store.head() - KEPT)


def has_all(world: World) -> None:
    there = {item.id: item for item in world.rows(Item)}
    node = world.machine_of(Window).node
    assert node is not None
    for copy in node.hosted[0].replicas:
        copied = of_copy(world, cast("ReplicaOf[Resource]", copy))
        wanted = {id: item.rev for id, item in there.items() if copy.name == "items" or item.shown}
        assert copied == wanted, f"{copy.name} is {copied}, there is {wanted}"


def of_copy(world: World, copy: ReplicaOf[Resource]) -> dict[str, int]:
    """The revisions of its rows, by id, past all code that they belong to."""
    statement = f"SELECT id, json_extract(value, '$.rev') FROM \"rows:{copy.shape.collection}\""
    return {cast("str", id): cast("int", rev) for id, rev in world.query(Window, statement)}


@simulation(setup, seconds=SECONDS, sometimes=("no answer",))
async def mirror(world: World) -> None:
    await story(world)


@simulation(lossy, profile="power", seconds=SECONDS)
async def lossy_mirror(world: World) -> None:
    await story(world, fresh=False)
