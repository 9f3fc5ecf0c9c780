"""Payments that others tell of come in as webhooks, and programs outside hear of each, as webhooks again."""

import asyncio
from collections import Counter
from datetime import datetime
from typing import cast

import msgspec

from hanse import App, Collection, Event, Fault, Gateway, Resource, Service, Signed, World, current, on, simulation
from hanse.contract.guard import anyone
from hanse.gateway.webhooks.model import WebhookDelivery
from hanse.gateway.webhooks.schedule import Answer
from hanse.gateway.webhooks.sender import Sending
from hanse.gateway.webhooks.service import Webhooks
from hanse.gateway.webhooks.signature import headers_of, secret_of
from hanse.sim.http import Http
from hanse.sim.setup import Setup
from hanse.store.base import Batch, Emit, Store

from .common import TRIES

SECONDS = 20.0
RATE = 3.0
SECRET = secret_of(bytes(range(32)))
RECEIVED = "received"
REFUSED = 0.1
"""Share of what is sent soon that the receiver refuses; it is tried again after some seconds, and taken then."""

FRESH_SECONDS = 4


class Payment(Event):
    number: int


class Paid(Event):
    number: int


class Slip(Resource):
    number: int


class Till(Service, events=(Payment, Paid)):
    slips: Collection[Slip]

    @on(Payment)
    async def take(self, payment: Payment) -> None:
        await self.slips.create(Slip(number=payment.number))
        await self.emit(Paid(number=payment.number))


class Told(msgspec.Struct):
    """What a webhook says of itself."""

    timestamp: datetime


class Outside:
    """A receiver that takes its time, and refuses some. What it has is noted at once, in the log beside the rows."""

    async def send(self, sending: Sending) -> Answer:
        context = current()
        host, store = context.host, cast("Store", context.store)
        await asyncio.sleep(host.chance.uniform(0.0, 0.3))
        told_at = msgspec.json.decode(sending.body, type=Told).timestamp.timestamp()
        if int(sending.headers["webhook-timestamp"]) - told_at < FRESH_SECONDS and host.chance.random() < REFUSED:
            return Answer(500)
        told = Emit(RECEIVED, sending.headers["webhook-id"], sending.body, host.new_id())
        await store.commit(Batch(host.now(), (told,)))
        await asyncio.sleep(host.chance.uniform(0.0, 0.3))
        return Answer(204)

    async def close(self) -> None:
        return None


gateway = Gateway().receive(Payment, "/hooks", signed=Signed.standard(SECRET))
gateway.webhooks(Paid, allow=anyone, sender=Outside())
HOOKS = next(one for one in gateway.services if issubclass(one, Webhooks))
setup = Setup(app=App("hooks", Till, gateway=gateway))


async def story(world: World) -> None:
    world.always("a payment is taken once", lambda: slips_are_unique(world))
    world.always("a webhook has the id of its delivery", lambda: ids_are_known(world))
    world.eventually("what was told of as delivered was received", lambda: delivered_are_received(world))
    world.eventually("every payment is told of outside", lambda: all_is_told(world))
    await subscribe(world)
    async with world.http() as http, asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            group.create_task(pay(world, http, number))


async def subscribe(world: World) -> None:
    for _ in range(TRIES):
        try:
            await world.client(HOOKS).subscribe(url="https://receiver.example/hooks")
        except Fault:
            await asyncio.sleep(0.5)
        else:
            return


async def pay(world: World, http: Http, number: int) -> None:
    """Tell of a payment until it was heard, as those do who send webhooks; and now and then once more."""
    body = b'{"number":%d}' % number
    heard = 0
    for _ in range(TRIES):
        signed = headers_of([SECRET], f"msg_{number}", int(world.host.now()), body)
        try:
            answer = await http.request("POST", "/hooks", headers=signed, json={"number": number})
        except Fault:
            world.sometimes("no answer")
            await asyncio.sleep(0.5)
            continue
        if answer.ok:
            world.sometimes("heard")
            heard += 1
            if heard > 1 or world.chance.random() < 0.7:
                return
        await asyncio.sleep(0.5)


def received(world: World) -> Counter[str]:
    return Counter(str(id) for (id,) in world.query(HOOKS, "SELECT id FROM log WHERE name = ?", RECEIVED))


def slips_are_unique(world: World) -> None:
    slips = Counter(slip.number for slip in world.rows(Slip))
    assert all(times == 1 for times in slips.values()), f"taken more than once: {slips - Counter(slips.keys())}"


def ids_are_known(world: World) -> None:
    unknown = received(world).keys() - {one.id for one in world.rows(WebhookDelivery)}
    assert not unknown, f"received under ids that no delivery has: {', '.join(sorted(unknown))}"


def delivered_are_received(world: World) -> None:
    lost = {one.id for one in world.rows(WebhookDelivery) if one.state == "delivered"} - received(world).keys()
    assert not lost, f"delivered, and received by nobody: {', '.join(sorted(lost))}"


def all_is_told(world: World) -> None:
    decoded = [msgspec.json.decode(one.body)["data"]["number"] for one in world.rows(WebhookDelivery)]
    assert sorted(decoded) == sorted(slip.number for slip in world.rows(Slip)), f"told of {sorted(decoded)}"
    waiting = [one.id for one in world.rows(WebhookDelivery) if one.state == "waiting"]
    assert not waiting, f"{len(waiting)} wait yet"


@simulation(setup, seconds=SECONDS, sometimes=("heard", "no answer"))
async def hooks(world: World) -> None:
    await story(world)
