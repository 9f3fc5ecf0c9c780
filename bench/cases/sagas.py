"""A saga, or workflow, of ten steps that give back a little: `sagas.py WHOSE WHERE AT_ONCE SECONDS`.

A step is committed before the next begins. What is told is of one step, with its part of begin and end.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable

import durable
import meter

from hanse import App, Node, Saga, Service, Settings, rpc, saga
from hanse.kernel.settings import NodeSettings

STEPS = 10


class Trips(Service):
    @rpc
    @saga
    async def book(self, s: Saga) -> int:
        total = 0
        for number in range(STEPS):
            total += await s.step(self._one, number)
        return total

    async def _one(self, number: int) -> int:
        return number


async def hanse(where: str, place: str, seconds: float, at_once: int, server: int) -> None:
    stores = {
        "sqlite": f"sqlite:///{place}/trips.db?synchronous=full",
        "sqlite-lazy": f"sqlite:///{place}/trips.db",
        "postgresql": place,
    }
    settings = Settings(node=NodeSettings(store=stores[where]))
    async with Node(App("trips", Trips), settings) as node:
        book = node.client(Trips).book
        await durable.measure(book, seconds, at_once, each=STEPS, server=server)


async def dbos(where: str, place: str, seconds: float, at_once: int, server: int) -> None:
    import sqlalchemy
    from dbos import DBOS, DBOSConfig

    @DBOS.step()
    async def one(number: int) -> int:
        return number

    @DBOS.workflow()
    async def book() -> int:
        total = 0
        for number in range(STEPS):
            total += await one(number)
        return total

    config: DBOSConfig = {"name": "trips", "log_level": "ERROR", "run_migrations": True}
    if where == "postgresql":
        config["system_database_url"] = place
    else:
        config["system_database_url"] = f"sqlite:///{place}/trips.db"
    if where == "sqlite-lazy":

        @sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
        def lazily(connection: sqlite3.Connection, _: object) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

    DBOS(config=config)
    DBOS.launch()

    await durable.measure(book, seconds, at_once, each=STEPS, server=server)
    DBOS.destroy(workflow_completion_timeout_sec=0)


WHOSE: dict[str, Callable[[str, str, float, int, int], Awaitable[None]]] = {"hanse": hanse, "dbos": dbos}

if __name__ == "__main__":
    whose, where, at_once, seconds = sys.argv[1:]
    with durable.database(where) as (place, server):
        running = WHOSE[whose](where, place, float(seconds), int(at_once), server)
        meter.run(running) if whose == "hanse" else asyncio.run(running)  # type: ignore[arg-type]
