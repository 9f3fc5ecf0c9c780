"""Worlds of services that reach out of them, or that share what they should not."""

import asyncio
import logging
import os
import time
from contextlib import suppress
from multiprocessing import connection

from hanse import App, Collection, Fault, Resource, Service, World, rpc, simulation

seen: dict[str, int] = {}


class Stamp(Resource):
    at: float = 0.0


class Stamps(Service):
    stamps: Collection[Stamp]

    @rpc
    async def real(self, id: str) -> Stamp:
        return await self.stamps.put(Stamp(id=id, at=time.time()))  # noqa: TID251 - what is refused

    @rpc
    async def hidden(self, id: str) -> Stamp:
        at = 0.0
        with suppress(Exception):
            at = time.time()  # noqa: TID251 - what is refused
        return await self.stamps.put(Stamp(id=id, at=at))

    @rpc
    async def count(self, id: str) -> int:
        seen[id] = seen.get(id, 0) + 1
        return seen[id]

    @rpc
    async def ask_library(self) -> list[float]:
        return [logging.makeLogRecord({}).created, connection._init_timeout(0.0)]  # type: ignore[attr-defined]


class Early(Service):
    async def started(self) -> None:
        os.remove("nothing.txt")  # noqa: PTH107 - what is refused

    @rpc
    async def ask(self) -> None: ...


app = App("stamps", Stamps)


@simulation(app, seeds=1, seconds=1, profile="calm")
async def asks_the_time(world: World) -> None:
    with suppress(Fault):
        await world.client(Stamps).real("a")
    await asyncio.sleep(60)


@simulation(app, seeds=1, seconds=1, profile="calm")
async def hides_it(world: World) -> None:
    with suppress(Fault):
        await world.client(Stamps).hidden("a")
    await asyncio.sleep(60)


@simulation(app, seeds=1, seconds=1, profile="calm")
async def tells_it_itself(world: World) -> None:
    await world.advance(1)
    time.sleep(1)  # noqa: ASYNC251, TID251 - what is refused


@simulation(app, seeds=1, seconds=1, profile="calm")
async def tells_it_beside(world: World) -> None:
    async def later() -> None:
        await asyncio.sleep(1)
        time.sleep(1)  # noqa: ASYNC251, TID251 - what is refused

    async with asyncio.TaskGroup() as group:
        group.create_task(later())
        await asyncio.sleep(60)


@simulation(app, seeds=1, seconds=1, profile="calm")
async def looks_with_it(world: World) -> None:
    world.eventually("late", lambda: time.time() > 0)  # noqa: TID251 - what is refused
    await asyncio.sleep(1)


@simulation(App("early", Early), seeds=1, seconds=1, profile="calm")
async def begins_with_it(world: World) -> None:
    await asyncio.sleep(1)


@simulation(app, seeds=1, seconds=1, profile="calm")
async def shares(world: World) -> None:
    await world.client(Stamps).count("a")


@simulation(app, seeds=1, seconds=1, profile="calm")
async def asks_a_library(world: World) -> None:
    now, monotonic = await world.client(Stamps).ask_library()
    machine = world.machines["stamps"]
    assert abs(now - machine.wall()) < 1, now - machine.wall()
    assert monotonic >= 100, monotonic


@simulation(app, seeds=1, seconds=1, profile="hostile")
async def writes_when_it_dies(world: World) -> None:
    """What a dead process would do with its last breath is not done, and blames nobody."""

    async def hold() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            time.sleep(1)  # noqa: ASYNC251, TID251 - what is refused

    machine = world.machines["stamps"]
    assert machine.lane is not None
    machine.lane.start(hold())
    await asyncio.sleep(0.1)
    world.crash(Stamps)
    await world.restart(Stamps)
