"""As little as one can do with zmq.asyncio: a DEALER, a ROUTER, a number, MessagePack; many calls at once.

The server answers one message after the other, without a task for each. There is no deadline, trace, identity, fault,
cancellation or limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import zmq
import zmq.asyncio
from shop import Order

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Order).decode


async def serve_peer(url: str) -> None:
    del url
    router = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    print(f"zmq://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}", flush=True)
    while True:
        name, number, body = await router.recv_multipart()
        await router.send_multipart([name, number, encode(decode(body))])


@contextlib.asynccontextmanager
async def ask_peer(address: str, order: Order) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    dealer = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    dealer.connect(address.replace("zmq://", "tcp://"))
    waiting: dict[bytes, asyncio.Future[Order]] = {}
    numbers = itertools.count()

    async def read() -> None:
        while True:
            number, body = await dealer.recv_multipart()
            waiting.pop(number).set_result(decode(body))

    async def call() -> Order:
        number = b"%d" % next(numbers)
        answer = waiting[number] = asyncio.get_running_loop().create_future()
        await dealer.send_multipart([number, encode(order)])
        return await answer

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        yield call
        _ = reading.cancel()
    dealer.close(0)
