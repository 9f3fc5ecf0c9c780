"""A handler that is told something, writes a row and tells something: `durable_work.py WHOSE WHERE SECONDS`.

All of it is kept: what is told waits in a backlog, and whoever dies begins with what he had not finished.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import durable
import meter
from shop import PLAIN, Order

from hanse import App, Collection, Event, Node, Resource, Service, Settings, on, rpc
from hanse.kernel.settings import NodeSettings

BATCH = 100


class Ordered(Event):
    """An order came in."""

    order: Order


class Sent(Event):
    """A letter went out."""

    number: int


class Letter(Resource):
    order: Order


class Desk(Service, events=(Ordered,)):
    @rpc
    async def place(self) -> None:
        """Tell of many at once."""
        await self.emit(*[Ordered(order=Order(**PLAIN)) for _ in range(BATCH)])  # type: ignore[arg-type]


class Mail(Service, events=(Sent,)):
    letters: Collection[Letter]
    handled = durable.Handled()
    begun = asyncio.Event()

    @on(Ordered)
    async def write(self, event: Ordered) -> None:
        await self.begun.wait()
        await self.letters.create(Letter(order=event.order))
        await self.emit(Sent(number=event.order.number))
        self.handled.add()


async def hanse(where: str, place: str, seconds: float, server: int) -> None:
    stores = {
        "sqlite": f"sqlite:///{place}?synchronous=full",
        "sqlite-lazy": f"sqlite:///{place}",
        "postgresql": place,
    }
    backlog = int(seconds * 10_000)
    async with Node(App("mail", Desk, Mail), Settings(node=NodeSettings(store=stores[where]))) as node:
        desk = node.client(Desk)
        for _ in range(backlog // BATCH):
            await desk.place()
        Mail.begun.set()
        await Mail.handled.measure(seconds, backlog, servers=(server,))


async def dbos(where: str, place: str, seconds: float, server: int) -> None:
    import sqlalchemy
    from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig
    from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData, Table

    handled = durable.Handled()
    letters = Table(
        *("letters", MetaData()),
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("value", JSON),
    )
    system = place if where == "postgresql" else f"sqlite:///{place}/system.db"
    if where == "sqlite-lazy":

        @sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
        def lazily(connection: sqlite3.Connection, _: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.close()

    config: DBOSConfig = {"name": "mail", "log_level": "CRITICAL", "system_database_url": system}
    DBOS(config=config)
    # The rows are in the same database where that can be: SQLite has one writer for a file.
    rows = await AsyncSQLAlchemyDatasource.create(
        place if where == "postgresql" else f"sqlite+aiosqlite:///{place}/rows.db"
    )
    async with rows.engine.begin() as connection:
        await connection.run_sync(letters.metadata.create_all)

    @rows.transaction(isolation_level="READ COMMITTED" if where == "postgresql" else "SERIALIZABLE")
    async def create(order: dict[str, object]) -> None:
        await rows.sql_session().execute(letters.insert().values(value=order))

    @DBOS.workflow()
    async def sent(number: int) -> None: ...

    @DBOS.workflow()
    async def write(order: dict[str, object]) -> None:
        await create(order)
        await DBOS.enqueue_workflow_async("out", sent, 1)
        handled.add()

    backlog = int(seconds * 800)
    DBOS.launch()
    for _ in range(backlog):
        await DBOS.enqueue_workflow_async("orders", write, PLAIN)
    await DBOS.register_queue_async("orders", worker_concurrency=64, polling_interval_sec=0.1)
    await handled.measure(seconds, backlog, servers=(server,))
    DBOS.destroy(workflow_completion_timeout_sec=0)


async def faststream(where: str, place: str, seconds: float, server: int) -> None:
    from faststream_outbox import OutboxBroker, make_outbox_table
    from sqlalchemy import JSON, BigInteger, Column, MetaData, Table
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    del where
    handled, metadata = durable.Handled(), MetaData()
    outbox = make_outbox_table(metadata, table_name="outbox")
    letters = Table(
        "letters", metadata, Column("id", BigInteger, primary_key=True, autoincrement=True), Column("value", JSON)
    )
    engine = create_async_engine(place.replace("postgresql:", "postgresql+asyncpg:"), pool_size=24)
    broker, sessions = (
        OutboxBroker(engine, outbox_table=outbox, logger=None),
        async_sessionmaker(engine, expire_on_commit=False),
    )
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)

    @broker.subscriber("orders", max_workers=16, fetch_batch_size=100, terminal_flush_batch_size=100)
    async def write(order: dict[str, Any]) -> None:
        async with sessions() as session, session.begin():
            await session.execute(letters.insert().values(value=PLAIN))
            await broker.publish({"number": order["number"]}, queue="out", session=session)
        handled.add()

    backlog = int(seconds * 3_000)
    for _ in range(backlog // BATCH):
        async with sessions() as session, session.begin():
            await broker.publish_batch(*[PLAIN] * BATCH, queue="orders", session=session)
    await broker.start()
    await handled.measure(seconds, backlog, servers=(server,))
    await broker.stop()


WHOSE: dict[str, Callable[[str, str, float, int], Awaitable[None]]] = {
    "hanse": hanse,
    "dbos": dbos,
    "faststream": faststream,
}

if __name__ == "__main__":
    whose, where, seconds = sys.argv[1:]
    with durable.database(where) as (place, server):
        running = WHOSE[whose](where, place, float(seconds), server)
        asyncio.run(running) if whose == "dbos" else meter.run(running)  # type: ignore[arg-type]
