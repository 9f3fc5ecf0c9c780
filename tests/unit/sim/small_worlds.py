"""Small worlds for tests of what runs worlds: right ones, and each of the others wrong in one way."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from hanse import App, Collection, Fault, Resource, Service, World, every, rpc, simulation


class Entry(Resource):
    text: str = ""


class Book(Service):
    entries: Collection[Entry]

    @rpc
    async def write(self, id: str) -> None:
        await self.entries.put(Entry(id=id))


class HastyBook(Service, name="book"):
    """Acknowledges what it has only in memory: a crash loses it."""

    entries: Collection[Entry]

    async def started(self) -> None:
        self.waiting: list[str] = []

    @rpc
    async def write(self, id: str) -> None:
        self.waiting.append(id)

    @every("1s")
    async def flush(self) -> None:
        for id in self.waiting:
            await self.entries.put(Entry(id=id))
        self.waiting.clear()


book, hasty = App("book", Book), App("hasty", HastyBook)


async def keep_writing(world: World, client: Book | HastyBook) -> None:
    """Write entries, one after the other; each that was acknowledged has to be there in the end."""
    written = set[str]()

    def all_there() -> str | None:
        lost = sorted(written - {entry.id for entry in world.rows(Entry)})
        return f"{', '.join(lost)} acknowledged, and lost" if lost else None

    world.eventually("nothing lost", all_there)
    async for number in world.arrivals(2.0):
        id = f"entry-{number}"
        with suppress(Fault):
            await client.write(id)
            written.add(id)


@simulation(book, seeds=4, seconds=10, sometimes=("came to its end",))
async def holds(world: World) -> None:
    await keep_writing(world, world.client(Book))
    world.sometimes("came to its end")


@simulation(hasty, seeds=10, seconds=20)
async def loses(world: World) -> None:
    await keep_writing(world, world.client(HastyBook))


@simulation(hasty, seeds=10, seconds=20)
async def loses_early(world: World) -> None:
    """Loses what was written at the beginning, and goes on for long."""
    await keep_writing(world, world.client(HastyBook))
    await world.heal()
    for _ in range(100):
        with suppress(Fault):
            await world.client(HastyBook).write("again")


@simulation(book, seeds=3, seconds=5, profile="calm")
async def is_unlucky(world: World) -> None:
    await world.client(Book).write("a")
    assert world.seed != 2, "two is no lucky number"


@simulation(book, seeds=3, seconds=5, profile="calm")
async def always_fails(world: World) -> None:
    await world.client(Book).write("a")
    raise ValueError(f"no luck at {world.time:.3f}")


@simulation(book, seeds=3, seconds=5, profile="calm", sometimes=("a miracle",))
async def waits_in_vain(world: World) -> None:
    await asyncio.sleep(1)


@simulation(book, seeds=4, seconds=5, profile="calm")
async def dies(world: World) -> None:
    """Takes the process that runs it along, under one seed."""
    if world.seed == 2:
        os._exit(3)


@simulation(book, seeds=2, seconds=5, profile="calm")
async def never_ends(world: World) -> None:
    while world.seed == 1:
        await world.advance("1h")


@simulation(book, seeds=1, seconds=5, profile="calm")
async def shows_an_address(world: World) -> None:
    raise ValueError(f"no luck with {object()}")


@simulation(book, seeds=5, seconds=5, profile="calm")
async def wavers(world: World) -> None:
    """Does what the hashes of strings say, which another process gives other values."""
    words = {f"word-{number}" for number in range(20)}
    for word in words:
        await world.client(Book).write(word)


class Tagged(Service):
    @rpc
    async def write(self, tags: frozenset[str]) -> None: ...

    @rpc
    async def write_sorted(self, tags: tuple[str, ...]) -> None: ...


TAGS = frozenset(f"tag-{number}" for number in range(20))
tagged = App("tagged", Tagged)


@simulation(tagged, seeds=5, seconds=5, profile="calm")
async def tags(world: World) -> None:
    """Sends a set of texts, whose order is that of their hashes."""
    await world.client(Tagged).write(TAGS)


@simulation(tagged, seeds=5, seconds=5, profile="calm")
async def tags_sorted(world: World) -> None:
    await world.client(Tagged).write_sorted(tuple(sorted(TAGS)))


def remembering() -> Callable[[], None]:
    memory: list[int] = []

    @simulation(book, seeds=5, seconds=5, profile="calm")
    async def remembers(world: World) -> None:
        """Does what the runs before it left behind, where nobody looks."""
        memory.append(world.seed)
        await world.client(Book).write(f"entry-{len(memory)}")

    return remembers


remembers = remembering()


@simulation(book, seeds=2, seconds=5, profile="calm")
async def crowds(world: World) -> None:
    async with asyncio.TaskGroup() as writers:
        for number in range(10):
            writers.create_task(world.client(Book).write(f"entry-{number}"))


def makes_one() -> object:
    """A simulation that no name of this module stands for."""

    @simulation(book, seeds=1, seconds=1, profile="calm")
    async def hidden(world: World) -> None:
        await asyncio.sleep(1)

    return hidden
