"""Money is moved under idempotency keys, by customers who ask until they know: each move happens once, and whole."""

import asyncio
from collections import Counter

import msgspec

from hanse import App, Collection, Fault, Resource, Service, World, policy, rpc, simulation
from hanse.kernel.faults import AnswerLost
from hanse.sim.setup import Setup

from .common import TRIES, insist

SECONDS = 20.0
RATE = 4.0
WALLETS = tuple(f"wallet-{number}" for number in range(8))
EACH = 1_000


class Wallet(Resource):
    balance: int = EACH


class Move(Resource):
    """One move that happened; nothing but its key says which."""

    key: str


class Bank(Service):
    wallets: Collection[Wallet]
    moves: Collection[Move]

    @rpc
    async def move(self, source: str, target: str, amount: int, key: str) -> Move:
        giver, taker = await self.wallets.get(source), await self.wallets.get(target)
        await self.wallets.put(msgspec.structs.replace(giver, balance=giver.balance - amount))
        await self.wallets.put(msgspec.structs.replace(taker, balance=taker.balance + amount))
        return await self.moves.create(Move(key=key))


setup = Setup(app=App("bank", Bank))


async def story(world: World) -> None:
    for name in WALLETS:
        await insist(world.collection(Wallet), Wallet(id=name))
    known: set[str] = set()
    world.always("no money comes or goes", lambda: money_is_kept(world))
    world.always("a move happens once", lambda: moves_are_unique(world))
    world.always("a move that was answered has happened", lambda: known_have_happened(world, known))
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            group.create_task(move(world, known, f"key-{number}"))


async def move(world: World, known: set[str], key: str) -> None:
    """Ask until it is known to have happened: that is all that a key is for."""
    bank = policy(world.client(Bank), idempotency_key=key)
    (source, target), amount = world.chance.sample(WALLETS, 2), world.chance.randint(1, 50)
    for _ in range(TRIES):
        try:
            await bank.move(source, target, amount, key)
        except Fault as fault:
            if isinstance(fault, AnswerLost):
                world.sometimes("its answer is lost")
            else:
                world.sometimes("asked again")
                await asyncio.sleep(world.chance.uniform(0.0, 1.0))
                continue
        world.sometimes("moved")
        known.add(key)
        return


def money_is_kept(world: World) -> None:
    wallets = world.rows(Wallet)
    total = sum(wallet.balance for wallet in wallets)
    assert total == EACH * len(wallets), f"{total} are in {len(wallets)} wallets that had {EACH} each"


def moves_are_unique(world: World) -> None:
    twice = [key for key, times in Counter(one.key for one in world.rows(Move)).items() if times > 1]
    assert not twice, f"{', '.join(twice)}: moved more than once"


def known_have_happened(world: World, known: set[str]) -> None:
    lost = known - {one.key for one in world.rows(Move)}
    assert not lost, f"{', '.join(sorted(lost))}: answered, and not moved"


@simulation(setup, seconds=SECONDS, sometimes=("moved", "asked again"))
async def bank(world: World) -> None:
    await story(world)
