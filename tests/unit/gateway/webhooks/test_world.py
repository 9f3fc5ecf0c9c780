"""Under kill -9, power cuts and a network that loses, each event reaches its subscriber, always under one id."""

import asyncio
from collections import defaultdict

import pytest

from hanse.contract.declare import rpc
from hanse.contract.guard import anyone
from hanse.contract.model import Event
from hanse.gateway.gateway import Gateway
from hanse.gateway.webhooks.model import WebhookDelivery
from hanse.gateway.webhooks.schedule import Answer
from hanse.gateway.webhooks.sender import Sending
from hanse.gateway.webhooks.service import Webhooks
from hanse.kernel.context import current
from hanse.node.app import App
from hanse.service.service import Service
from hanse.sim.run import run
from hanse.sim.simulation import simulate

URL = "https://receiver.example/hooks"


class Paid(Event):
    order_id: str


class Till(Service, events=(Paid,)):
    @rpc
    async def pay(self, order_id: str) -> None:
        await self.emit(Paid(order_id=order_id))


class Moody:
    """Receivers that take their time, and refuse a third of what comes."""

    def __init__(self) -> None:
        self.bodies: defaultdict[str, list[bytes]] = defaultdict(list)

    async def send(self, sending: Sending) -> Answer:
        self.bodies[sending.headers["webhook-id"]].append(sending.body)
        chance = current().host.chance
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        return Answer(500, "moody") if chance.random() < 0.3 else Answer(204)

    async def close(self) -> None:
        return None


async def story(seed: int) -> None:
    outside = Moody()
    gateway = Gateway().webhooks(Paid, allow=anyone, sender=outside)
    (cls,) = gateway.services
    assert issubclass(cls, Webhooks)
    async with simulate(App("shop", Till, gateway=gateway), seed=seed) as world:
        for _ in range(2):
            _ = await world.client(cls).subscribe(url=URL)
        world.network.between(Till, cls, drop=0.1, delay="100ms")
        for n in range(8):
            await world.client(Till).pay(order_id=f"o{n}")
            if n % 3 == 1:
                (world.crash if seed % 2 else world.power_cut)(cls)
                await world.restart(cls)
            await world.advance("300ms")
        await world.advance("3h")
        kept: list[WebhookDelivery] = world.rows(WebhookDelivery)
        assert len(kept) == 16
        assert {one.state for one in kept} == {"delivered"}
        assert outside.bodies.keys() == {one.id for one in kept}
        assert all(len(set(bodies)) == 1 for bodies in outside.bodies.values())


@pytest.mark.parametrize("seed", range(4))
def test_each_event_reaches_each_subscriber_under_one_id(seed: int) -> None:
    run(story(seed))
