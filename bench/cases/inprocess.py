"""What a call costs where caller and service are one process: `inprocess.py CASE SECONDS`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

import meter
import msgspec
import pydantic
from shop import ORDER, PLAIN, STREAMED, Desk, Order, Sale, desk, post

from hanse import Node, Settings
from hanse.kernel.settings import NodeSettings
from hanse.service.local import LocalCollection
from hanse.store.memory import MemoryStore

EVENTS = 1_000
"""Events that are emitted before their handling is waited for."""


class Arguments(msgspec.Struct):
    """What travels when `check` is called."""

    order: Order


async def plain_await(seconds: float) -> None:
    service = Desk(sales=LocalCollection(Sale, MemoryStore()))
    await meter.one_by_one(lambda: service.check(ORDER), seconds, batch=5_000)


async def by_hand(seconds: float) -> None:
    """Arguments and result encoded and decoded: what isolation cannot cost less than."""
    encode = msgspec.msgpack.encode
    taken, given = msgspec.msgpack.Decoder(Arguments), msgspec.msgpack.Decoder(Order)

    async def check(order: Order) -> Order:
        return order

    async def call() -> Order:
        result = await check(taken.decode(encode(Arguments(ORDER))).order)
        return given.decode(encode(result))

    await meter.one_by_one(call, seconds, batch=5_000)


async def pydantic_validate(seconds: float) -> None:
    class PydanticOrder(pydantic.BaseModel):
        number: int
        customer: str
        tags: list[str]
        amount: float

    async def call() -> PydanticOrder:
        return PydanticOrder.model_validate(PLAIN)

    await meter.one_by_one(call, seconds, batch=5_000)


async def task_per_call(seconds: float) -> None:
    async def check(order: Order) -> Order:
        return order

    async def call() -> Order:
        return await asyncio.create_task(check(ORDER))

    await meter.one_by_one(call, seconds)


async def call(seconds: float) -> None:
    async with Node(desk) as node:
        client = node.client(Desk)
        assert await client.check(ORDER) == ORDER
        await meter.one_by_one(lambda: client.check(ORDER), seconds, batch=5_000)


async def stream(seconds: float) -> None:
    async with Node(desk) as node:
        client = node.client(Desk)

        async def read() -> None:
            async for _ in client.all():
                pass

        await meter.one_by_one(read, seconds, batch=5, each=STREAMED)


async def unit_memory(seconds: float) -> None:
    await _unit(seconds, "memory:")


async def unit_sqlite(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await _unit(seconds, f"sqlite:///{Path(folder) / 'desk.db'}")


async def _unit(seconds: float, store: str) -> None:
    async with Node(desk, Settings(node=NodeSettings(store=store))) as node:
        client = node.client(Desk)
        await meter.in_flight(lambda: client.sell(ORDER), seconds)


async def event(seconds: float) -> None:
    async with Node(post) as node:
        client = node.client(Desk)

        async def emit() -> None:
            for number in range(EVENTS):
                await client.place(number)
            await node.settle()

        await meter.one_by_one(emit, seconds, batch=1, each=EVENTS)


CASES: dict[str, Callable[[float], Coroutine[object, object, None]]] = {
    case.__name__: case
    for case in (
        plain_await, by_hand, pydantic_validate, task_per_call, call, stream, unit_memory, unit_sqlite, event,
    )
}  # fmt: skip

if __name__ == "__main__":
    meter.run(CASES[sys.argv[1]](float(sys.argv[2])))
