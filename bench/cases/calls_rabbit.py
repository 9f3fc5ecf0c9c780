"""What a call costs through a RabbitMQ: `calls_rabbit.py CASE SIZE SECONDS`.

CPU is that of caller, service and server. The script starts the server and the service as its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import sys
from collections.abc import AsyncIterator

import meter
import msgspec
from calls_nats import Asking, Operation, ask_over, between, decode, encode, serve_over
from events_rabbit import SERVER, start
from shop import Order

from hanse.kernel.host import Host
from hanse.transport.amqp.transport import AmqpTransport

QUEUE = "check"
AHEAD = 128
"""What a service is handed that it has not answered, as Hanse has it."""


async def serve_hanse(url: str) -> None:
    await serve_over(AmqpTransport(url, Host.system()))


def ask_hanse(url: str, order: Order) -> Asking:
    host = Host.system()
    return ask_over(AmqpTransport(url, host), host, order)


# By hand, with aio-pika: nothing is acknowledged or confirmed; no trace, identity, fault or limit.


async def serve_aio_pika(url: str) -> None:
    import aio_pika
    from aio_pika.abc import AbstractIncomingMessage

    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=False)

    async def check(message: AbstractIncomingMessage) -> None:
        assert message.reply_to is not None
        answer = aio_pika.Message(encode(decode(message.body)), correlation_id=message.correlation_id)
        await channel.default_exchange.publish(answer, message.reply_to)

    queue = await channel.declare_queue(QUEUE, auto_delete=True)
    await queue.consume(check, no_ack=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def ask_aio_pika(url: str, order: Order) -> AsyncIterator[Operation]:
    import aio_pika
    from aio_pika.abc import AbstractIncomingMessage

    open_calls: dict[str | None, asyncio.Future[bytes]] = {}
    numbers = map(str, itertools.count())

    async def answered(message: AbstractIncomingMessage) -> None:
        open_calls.pop(message.correlation_id).set_result(message.body)

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        answers = await channel.declare_queue(exclusive=True)
        await answers.consume(answered, no_ack=True)

        async def call() -> Order:
            number = next(numbers)
            future = open_calls[number] = asyncio.get_running_loop().create_future()
            asked = aio_pika.Message(encode(order), correlation_id=number, reply_to=answers.name)
            await channel.default_exchange.publish(asked, QUEUE)
            async with asyncio.timeout(10):
                return decode(await future)

        yield call


# FastStream, as its users have it: a model of pydantic, and its own request.


async def serve_faststream(url: str) -> None:
    from faststream.rabbit import Channel, RabbitBroker
    from pydantic import create_model

    fields = {"number": (int, ...), "customer": (str, ...), "tags": (list[str], ...), "amount": (float, ...)}
    model = create_model("Order", **fields)
    broker = RabbitBroker(url, logger=None, default_channel=Channel(prefetch_count=AHEAD))

    async def check(order: Order) -> Order:
        return order

    check.__annotations__.update({"order": model, "return": model})
    broker.subscriber(QUEUE)(check)
    await broker.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def ask_faststream(url: str, order: Order) -> AsyncIterator[Operation]:
    from faststream.rabbit import RabbitBroker

    asked = msgspec.to_builtins(order)
    async with RabbitBroker(url, logger=None) as broker:
        await broker.start()

        async def call() -> Order:
            answer = await broker.request(asked, QUEUE, timeout=10)
            return msgspec.convert(await answer.decode(), Order)

        yield call


SERVE = {"hanse": serve_hanse, "aio-pika": serve_aio_pika, "faststream": serve_faststream}
ASK = {"hanse": ask_hanse, "aio-pika": ask_aio_pika, "faststream": ask_faststream}


def main(case: str, size: str, seconds: float) -> None:
    if SERVER is None or shutil.which("epmd") is None:
        meter.tell(skipped="there is no rabbitmq-server on this machine")
        return
    with start() as started:
        between([__file__, "serve", case], ASK[case], started, size, seconds)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        meter.run(SERVE[sys.argv[2]](sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
