"""A reader is broken for a while, and fails at all it is given; an operator replays too early, looks, and stops."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from hanse import App, Collection, Event, Fault, NotFound, Resource, Service, World, on, rpc, simulation
from hanse.delivery.action import HALT_LEAST, LetterAction, Selection
from hanse.node.letters import Letters
from hanse.sim.setup import Setup

from .common import TRIES

T = TypeVar("T")

SECONDS = 24.0
RATE = 12.0
MENDED_AT = 10.0
PARKED_MAX = 80
"""Letters that are parked at most, by all lives of the reader: ten and a few for each, of about 120."""

GLASSES = "glasses"


class Post(Event):
    number: int


class Sent(Resource):
    letters: int = 0


class Slip(Resource):
    """What is noted of a letter that was read."""

    number: int


class Office(Service, events=(Post,)):
    sent: Collection[Sent]

    @rpc
    async def send(self) -> None:
        try:
            row = await self.sent.get("all")
        except NotFound:
            row = await self.sent.create(Sent(id="all"))
        await self.emit(Post(number=row.letters + 1))
        await self.sent.put(msgspec.structs.replace(row, letters=row.letters + 1))


class Desk(Service):
    slips: Collection[Slip]

    @rpc(idempotent=True)
    async def mend(self) -> None:
        await self.slips.put(Slip(id=GLASSES, number=0))

    @on(Post, attempts=1)
    async def read(self, event: Post) -> None:
        try:
            await self.slips.get(GLASSES)
        except NotFound:
            raise ValueError("nobody can read anything") from None
        await self.slips.create(Slip(number=event.number))


setup = Setup(app=App("broken", Office, Desk), dead_letters=True)


async def story(world: World) -> None:
    stopped: dict[str, int] = {}
    world.always("what waits is not parked because others fail", lambda: few_are_parked(world))
    world.always("each letter is read once", lambda: slips_are_unique(world))
    world.always("a replay that fails too often halts", lambda: replays_halt(world))
    world.always("what was stopped does nothing more", lambda: stops_hold(world, stopped))
    world.eventually("every letter is read", lambda: all_is_read(world))
    async with asyncio.TaskGroup() as group:
        group.create_task(operate(world, stopped))
        async for _ in world.arrivals(rate=RATE):
            group.create_task(send(world))


async def send(world: World) -> None:
    try:
        await world.client(Office).send()
        world.sometimes("answered")
    except Fault:
        world.sometimes("no answer")


async def operate(world: World, stopped: dict[str, int]) -> None:
    """Replay before it is mended; after that look at what a replay would do, stop one, and replay all that is left."""
    letters = world.letters(Desk)
    await asyncio.sleep(MENDED_AT / 2)
    await insist(world, lambda: letters.replay(Selection()))
    await asyncio.sleep(MENDED_AT / 2)
    await insist(world, world.client(Desk).mend)
    page = await insist(world, lambda: letters.find(Selection(), limit=3))
    for line in page.items:
        await rehearse(letters, line.id)
    action = await insist(world, lambda: letters.replay(Selection(), rate=4.0))
    await asyncio.sleep(world.chance.uniform(0.2, 2.0))
    ended = await insist(world, lambda: letters.stop(action.id))
    if ended.state == "stopped":
        stopped[ended.id] = ended.sent
    await asyncio.sleep(3.0)
    for _ in range(TRIES):
        await insist(world, lambda: letters.replay(Selection()))
        await asyncio.sleep(1.0)
        if not await insist(world, lambda: letters.count(Selection())) and world.time > SECONDS:
            return


async def rehearse(letters: Letters, id: str) -> None:
    try:
        await letters.rehearse(id)
    except Fault:
        return  # it was not looked at, and is replayed all the same


async def insist(world: World, ask: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES):
        try:
            return await ask()
        except Fault:
            world.sometimes("no answer")
            await asyncio.sleep(0.5)
    raise AssertionError(f"there was no answer in {TRIES} tries")


def few_are_parked(world: World) -> None:
    [(parked,)] = world.query(Desk, 'SELECT count(*) FROM "rows:dead_letters"')
    assert isinstance(parked, int)
    assert parked <= PARKED_MAX, f"{parked} are parked"


def slips_are_unique(world: World) -> None:
    slips = Counter(slip.number for slip in world.rows(Slip))
    assert all(times == 1 for times in slips.values()), f"read more than once: {slips - Counter(slips.keys())}"


def actions(world: World) -> dict[str, LetterAction]:
    found = world.query(Desk, 'SELECT id, CAST(value AS BLOB) FROM "rows:dead_letter_actions"')
    read = msgspec.json.Decoder(LetterAction).decode
    return {str(id): read(value) for id, value in found if isinstance(value, bytes)}


def replays_halt(world: World) -> None:
    for id, one in actions(world).items():
        often = one.sent >= HALT_LEAST and one.failed > one.halt * one.sent
        assert not often or one.state == "halted", f"{id} is {one.state}: {one.failed} of {one.sent} have failed"


def stops_hold(world: World, stopped: dict[str, int]) -> None:
    for id, one in actions(world).items():
        sent = stopped.get(id, one.sent)
        assert id not in stopped or (one.state, one.sent) == ("stopped", sent), f"{id} was stopped after {sent}: {one}"


def all_is_read(world: World) -> None:
    numbers = {slip.number for slip in world.rows(Slip)} - {0}
    for sent in world.rows(Sent):
        assert len(numbers) == sent.letters, f"{sent.letters} were sent, {len(numbers)} read"


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def broken(world: World) -> None:
    await story(world)
