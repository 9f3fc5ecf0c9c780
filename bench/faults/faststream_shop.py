"""Orders and charges on FastStream with its outbox in PostgreSQL, which is its queue as well, as its README shows it.

An order and its message are one transaction. The handler commits a charge; then the outbox forgets the message. There
is no inbox, and the handler's session is its own, as that of the outbox is not handed to it.
"""

import asyncio
import sys

from faststream import FastStream
from faststream_outbox import OutboxBroker, make_outbox_table
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from trap import DATABASE, passed

metadata = MetaData()
outbox = make_outbox_table(metadata, table_name="outbox")
engine = create_async_engine(DATABASE.replace("postgresql://", "postgresql+asyncpg://"))
sessions = async_sessionmaker(engine, expire_on_commit=False)
broker = OutboxBroker(engine, outbox_table=outbox)


@broker.subscriber("charges", lease_ttl_seconds=2.0)
async def charge(order: int) -> None:
    async with sessions() as session, session.begin():
        await session.execute(text("INSERT INTO charges (shop_order) VALUES (:order)"), {"order": order})
        passed("handler.before_commit")
    passed("handler.after_commit")


async def place(order: int) -> None:
    async with sessions() as session, session.begin():
        done = await session.execute(
            text("INSERT INTO orders VALUES (:order) ON CONFLICT DO NOTHING RETURNING id"), {"order": order}
        )
        if done.first() is None:
            return  # somebody asks again for what was done
        await broker.publish(order, queue="charges", session=session)
    passed("order.after_commit")


async def main() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    if sys.argv[1] == "work":
        await FastStream(broker).run()
        return
    for order in range(int(sys.argv[2])):
        await place(order)


if __name__ == "__main__":
    asyncio.run(main())
