"""The same by FastAPI and nats-py: the gateway is served as `app`; the service is `gateway_fastapi.py URL`.

Both validate. There is no trace, identity, fault, deadline beyond the request's, limit or breaker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

import nats
import uvloop
from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import BaseModel


class Sale(BaseModel):
    number: int
    customer: str
    tags: list[str]
    amount: float


class Order(BaseModel):
    sale: Sale
    quantity: int = 1


class Price(BaseModel):
    customer: str
    total: float


clients: list[Client] = []


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    clients.append(await nats.connect(os.environ["NATS_URL"]))
    yield
    await clients.pop().close()


app = FastAPI(lifespan=lifespan)


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/rpc/desk/price")
async def price(order: Order) -> Price:
    answer = await clients[0].request("desk.price", order.model_dump_json().encode(), timeout=10)
    return Price.model_validate_json(answer.data)


async def serve(url: str) -> None:
    client = await nats.connect(url)

    async def priced(message: Msg) -> None:
        order = Order.model_validate_json(message.data)
        total = order.sale.amount * order.quantity
        await message.respond(Price(customer=order.sale.customer, total=total).model_dump_json().encode())

    await client.subscribe("desk.price", "desks", cb=priced)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
