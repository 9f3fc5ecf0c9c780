"""A till tells of sales, and a book writes them down: each once, in the order of their account, with its price."""

import asyncio
from collections import Counter

import msgspec

from hanse import App, Collection, Event, Fault, NotFound, Resource, Service, World, current, on, rpc, simulation
from hanse.kernel.settings import NodeSettings, Settings
from hanse.sim.setup import STORE, Setup

SECONDS = 20.0
RATE = 6.0
ACCOUNTS = ("ada", "bob", "cyd")


class Sold(Event):
    account: str
    number: int


class Account(Resource):
    """How many sales an account has."""

    sold: int = 0


class Page(Resource):
    """The sales of an account, by number, as the book heard of them."""

    numbers: list[int]


class Line(Resource):
    """What one sale came to."""

    account: str
    price: int


class Slip(Resource):
    """What is printed for one sale."""

    account: str
    number: int


class Till(Service, events=(Sold,)):
    accounts: Collection[Account]

    @rpc
    async def sell(self, account: str) -> Account:
        try:
            row = await self.accounts.get(account)
        except NotFound:
            row = await self.accounts.create(Account(id=account))
        # Told before it is written: should the write be refused, nobody is to hear of it.
        await self.emit(Sold(account=account, number=row.sold + 1))
        return await self.accounts.put(msgspec.structs.replace(row, sold=row.sold + 1))

    @rpc(idempotent=True)
    async def price(self, account: str, number: int) -> int:
        await asyncio.sleep(current().host.chance.uniform(0.0, 0.3))
        return len(account) * number


class Book(Service):
    till: Till
    pages: Collection[Page]
    lines: Collection[Line]
    slips: Collection[Slip]

    @on(Sold, key=lambda event: event.account, attempts=3)
    async def write(self, event: Sold) -> None:
        try:
            page = await self.pages.get(event.account)
        except NotFound:
            page = await self.pages.create(Page(id=event.account, numbers=[]))
        await self.pages.put(msgspec.structs.replace(page, numbers=[*page.numbers, event.number]))
        price = await self.till.price(event.account, event.number)
        await self.lines.create(Line(account=event.account, price=price))

    @on(Sold)
    async def print(self, event: Sold) -> None:
        # Nothing here that a revision could refuse: what comes twice is told by its mark alone.
        await asyncio.sleep(current().host.chance.uniform(0.0, 0.2))
        await self.slips.create(Slip(account=event.account, number=event.number))


setup = Setup(app=App("ledger", Till, Book))
tight = Setup(app=setup.app, settings=Settings(node=NodeSettings(store=STORE, calls_max=2)))
"""The same, but that each machine does two things at once at most."""


async def story(world: World) -> None:
    world.always("what is sold is told, and nothing else", lambda: telling_is_right(world))
    world.always("sales are written down once, in their order", lambda: pages_are_right(world))
    world.always("each sale that is written down has its price", lambda: lines_are_right(world))
    world.always("each sale has one slip", lambda: slips_are_unique(world))
    world.eventually("every sale is written down", lambda: pages_are_full(world))
    async with asyncio.TaskGroup() as group:
        async for _ in world.arrivals(rate=RATE):
            group.create_task(sell(world, world.chance.choice(ACCOUNTS)))


async def sell(world: World, account: str) -> None:
    try:
        await world.client(Till).sell(account)
        world.sometimes("answered")
    except Fault:
        world.sometimes("no answer")


def telling_is_right(world: World) -> None:
    told = world.query(Till, "SELECT after FROM log WHERE op = 'emitted' ORDER BY seq")
    numbers: dict[str, list[int]] = {account: [] for account in ACCOUNTS}
    for (value,) in told:
        event = msgspec.json.decode(value if isinstance(value, bytes) else b"", type=Sold)
        numbers[event.account].append(event.number)
    sold = {row.id: row.sold for row in world.rows(Account)}
    for account, told_of in numbers.items():
        assert told_of == numbers_to(sold.get(account, 0)), f"{account} has {sold.get(account)} sales, told: {told_of}"


def pages_are_right(world: World) -> None:
    for page in world.rows(Page):
        assert page.numbers == numbers_to(len(page.numbers)), f"{page.id} is written down as {page.numbers}"


def lines_are_right(world: World) -> None:
    lines = Counter(line.account for line in world.rows(Line))
    for page in world.rows(Page):
        assert lines[page.id] == len(page.numbers), f"{page.id} has {len(page.numbers)} sales, {lines[page.id]} prices"


def slips_are_unique(world: World) -> None:
    slips = Counter((slip.account, slip.number) for slip in world.rows(Slip))
    twice = [f"{account} {number}" for (account, number), times in slips.items() if times > 1]
    assert not twice, f"{', '.join(twice)}: printed more than once"


def pages_are_full(world: World) -> None:
    pages = {page.id: len(page.numbers) for page in world.rows(Page)}
    slips = Counter(slip.account for slip in world.rows(Slip))
    for account in world.rows(Account):
        known, printed = pages.get(account.id), slips[account.id]
        assert known == account.sold, f"{account.id}: {account.sold} sold, {known} are written down"
        assert printed == account.sold, f"{account.id}: {account.sold} sold, {printed} have a slip"


def numbers_to(last: int) -> list[int]:
    return list(range(1, last + 1))


@simulation(setup, seconds=SECONDS, sometimes=("answered", "no answer"))
async def ledger(world: World) -> None:
    await story(world)


@simulation(tight, seconds=SECONDS, sometimes=("answered", "no answer"))
async def tight_ledger(world: World) -> None:
    await story(world)
