"""Nodes that follow routes while a release comes and goes, and whoever tells the routes is away, late or killed.

Fronts call a shop, which calls a stock; both run in two releases, and nothing ever happens to these four. So each call
is answered, by one release all the way, and by none of which all fronts have said that they know that it has no share.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from msgspec.structs import replace

from hanse import App, Fault, Service, World, rpc, simulation
from hanse.control.edge_table import WHOLE
from hanse.control.ground import Ground, Sight, Wanted
from hanse.control.plan import blue_green, rolling
from hanse.control.releases import Asked, Releases, Standing
from hanse.control.rollout import ENDED, Command, Crew, Rollout
from hanse.kernel.message import Headers, Identity
from hanse.kernel.settings import NodeSettings, Settings
from hanse.sim.setup import STORE, Setup

SECONDS = 90.0
RATE = 3.0
OLD = "1"
FRONTS, SHOPS, STOCKS, KEEPER = ("front-1", "front-2"), ("shop-1", "shop-2"), ("stock-1", "stock-2"), "keeper"
TRIES = 120
"""Seconds in which a rollout that is aborted is over, once nothing breaks."""

OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"releases:write"})))


class Stock(Service, name="stock"):
    release: str = ""

    @rpc(idempotent=True)
    async def take(self) -> str:
        return self.release


class Shop(Service, name="shop"):
    stock: Stock
    release: str = ""

    @rpc(idempotent=True)
    async def sell(self) -> list[str]:
        return [self.release, await self.stock.take()]


class Front(Service, name="front"):
    shop: Shop

    @rpc(idempotent=True)
    async def ask(self) -> list[str]:
        """Which releases answered; or what became of the call."""
        try:
            return await self.shop.sell()
        except Fault as fault:
            return [repr(fault)]


class Fleet(Service, Ground, name="fleet"):
    """Everything runs; who calls others has to say which routes it goes by."""

    async def carry(self, wanted: Wanted) -> Sight:
        old, new = Crew(wanted.old_count, wanted.old_count), Crew(wanted.new_count, wanted.new_count)
        hosts = ("front",)
        return Sight(
            old=old,
            new=new,
            share=wanted.share,
            mirrored=wanted.mirrored,
            came="passed",
            callers=FRONTS,
            hosts=hosts,
        )

    async def settle(self, service: str, release: str, source: str, position: int) -> None:
        """It does."""


def _variables(machine: str) -> dict[str, str]:
    service, _, release = machine.partition("-")
    found = {"HANSE_NODE__INSTANCE": machine}
    if machine in FRONTS:
        found |= {"HANSE_NODE__FOLLOW_ROUTES": "true", "HANSE_NODE__NEED_ROUTES": "true"}
    if machine not in FRONTS:
        of = f"HANSE_SERVICES__{service.upper()}__SETTINGS__RELEASE"
        found |= {"HANSE_NODE__RELEASE": release, of: release}
    return found


MACHINES: dict[str, list[type[Service]]] = {
    KEEPER: [Releases, Fleet],
    **{name: [Front] for name in FRONTS},
    **{name: [Shop] for name in SHOPS},
    **{name: [Stock] for name in STOCKS},
}
setup = Setup(
    app=App("calls", Releases, Fleet, Front, Shop, Stock),
    machines=MACHINES,
    environment={name: _variables(name) for name in MACHINES if name != KEEPER},
    settings=Settings(node=NodeSettings(store=STORE)),
)


async def story(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        over = asyncio.Event()
        _ = group.create_task(trouble(world, over))
        _ = group.create_task(deaths(world, over))
        _ = group.create_task(release(world, over))
        async for _ in world.arrivals(rate=RATE):
            group.create_task(ask(world))
        over.set()
    for _ in range(TRIES):
        if not await say(world, "abort"):
            return
        await world.advance("1s")
    world.violate("every rollout ends", f"{world.rows(Rollout)[-1]}")


# Who asks


async def ask(world: World) -> None:
    """A call of a visitor: what it may come to is what was so before it, or what is so after it."""
    before = standing(world)
    try:
        told = await world.client(Front).ask()
    except Fault:
        world.sometimes("a front was away")
        return
    after = standing(world)
    if len(told) == 1:
        world.violate("every call is answered", told[0])
    elif told[0] not in before.due | after.due:
        world.violate("nobody is asked who has no share", f"{told[0]} answered, and {before} was so, then {after}")
    elif before.split and before == after and told[0] != told[1]:
        world.violate("a story stays in one release", f"{told[0]} of the shop asked {told[1]} of the stock")


@dataclass(frozen=True)
class Stand:
    """What is so of the shop.

    Attributes:
        due: Releases that may answer.
        split: Id of the rollout that shares it among two, where all nodes know that; empty for none.
    """

    due: frozenset[str]
    split: str = ""

    def __str__(self) -> str:
        return " or ".join(sorted(self.due))


def standing(world: World) -> Stand:
    """What is so, by what is stored."""
    live = [row for row in world.rows(Rollout) if row.state not in ENDED]
    if not live:
        there = [row.release for row in world.rows(Standing)]
        # Before anything was ever released, nobody was told of any route.
        return Stand(frozenset(there) or frozenset({"1", "2"}))
    row = live[0]
    state = row.held_in if row.state == "held" else row.state
    if state in {"deploying", "trying"}:
        return Stand(frozenset({row.old}))
    in_force = state == "stepping" and row.step >= 1 and row.plan.steps[row.step].share < WHOLE
    return Stand(frozenset({row.old, row.new}), row.id if in_force else "")


# Who releases, and what breaks


async def release(world: World, over: asyncio.Event) -> None:
    """The shop goes to its other release, and back, again and again; some are aborted."""
    while not over.is_set():
        rows = world.rows(Standing)
        old = rows[0].release if rows else OLD
        plan = world.chance.choice((rolling(3, every=4.0, bake=4.0), blue_green(3, bake=4.0)))
        asked = Asked(service="shop", new="1" if old == "2" else "2", plan=plan, instances=3, old=OLD)
        asked = replace(asked, digest=str(world.chance.random()))
        with world.context(OPERATOR):
            try:
                _ = await world.client(Releases).begin(asked)
            except Fault:
                world.sometimes("nobody could begin")
        await world.advance(world.chance.random() * 20.0)
        if world.chance.random() < 0.5:
            _ = await say(world, world.chance.choice(("abort", "abort", "pause", "resume")))


async def say(world: World, command: Command) -> bool:
    """Say what becomes of what is on its way, if anything is; whether that is so."""
    live = [row for row in world.rows(Rollout) if row.state not in ENDED]
    for row in live:
        try:
            with world.context(OPERATOR):
                _ = await world.client(Releases).command(row.id, command, who="ada")
        except Fault:
            world.sometimes("nobody could say so")
    return bool(live)


async def trouble(world: World, over: asyncio.Event) -> None:
    """Whoever tells the routes is away, as some or all see it."""
    while not over.is_set():
        await world.advance(world.chance.random() * 8.0)
        seconds, draw = world.chance.random() * 15.0, world.chance.random()
        if draw < 0.6:
            cut = FRONTS if draw < 0.2 else (world.chance.choice(FRONTS),)
            for one in cut:
                world.network.cut(KEEPER, one)
            await world.advance(seconds)
            for one in cut:
                world.network.mend(KEEPER, one)
        elif draw < 0.8:
            world.pause(KEEPER, f"{seconds:.1f}s")
        else:
            await kill(world, KEEPER, seconds)


async def deaths(world: World, over: asyncio.Event) -> None:
    """Those who go by the routes are killed, and begin anew, also while nobody tells them."""
    while not over.is_set():
        await world.advance(world.chance.random() * 20.0)
        await kill(world, world.chance.choice(FRONTS), world.chance.random() * 3.0)


async def kill(world: World, machine: str, seconds: float) -> None:
    world.crash(machine)
    await world.advance(seconds)
    await world.restart(machine)


@simulation(setup, profile="calm", seconds=SECONDS, sometimes=("a front was away",))
async def routed(world: World) -> None:
    await story(world)
