"""Real transports keep every promise of a transport over simulated connections, in virtual time."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from hanse.kernel.context import Context, ambient
from hanse.kernel.settings import NodeSettings
from hanse.sim.carried import Carried, CarriedTwin
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.machine import host_of
from hanse.sim.network import KEEPALIVE_SECONDS, Network
from hanse.sim.registry import TOLD_SECONDS_MAX
from hanse.sim.trace import Trace
from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport


class CarriedSuite(TransportSuite):
    url: str

    def setup_method(self) -> None:
        self.lanes: dict[Transport, Lane] = {}

    async def join(self) -> Transport:
        loop = cast("Loop", asyncio.get_running_loop())
        if not self.lanes:
            self.network = Network(loop, Trace(), 7)
            self.medium = Carried(self.url, self.network, Trace(), 7)
            for appliance in self.medium.appliances.values():
                appliance.start()
        name = f"node-{len(self.lanes)}"
        lane = Lane(loop, name)
        host = host_of(lane, chance=(7, name, 0), wall=lambda: loop.now)
        _ = lane.context.run(ambient.set, Context(host))
        node = self.medium.join(lane, NodeSettings())
        self.lanes[node] = lane
        return node

    async def settle(self, nodes: Sequence[Transport]) -> None:
        del nodes
        # Nobody waits for it: time is virtual, and this is how long it takes at most.
        await asyncio.sleep(TOLD_SECONDS_MAX)

    async def kill(self, node: Transport) -> None:
        self.lanes[node].kill()
        self.network.died(cast("CarriedTwin", node).port, dark=False)

    async def sever(self, node: Transport) -> None:
        names = [*(lane.name for lane in self.lanes.values()), *self.medium.appliances]
        links = self.network.links_of(self.lanes[node].name, names)
        self.network.cut(links)
        await asyncio.sleep(KEEPALIVE_SECONDS + 1.0)
        self.network.mend(links)


class BrokerSuite(CarriedSuite):
    ahead_max = 128

    async def restart(self) -> None:
        (broker,) = self.medium.appliances.values()
        broker.kill()
        await asyncio.sleep(0.5)
        broker.start()


@pytest.mark.virtual_time
class TestNats(BrokerSuite):
    title = "nats:// in a world"
    url = "nats://"


@pytest.mark.virtual_time
class TestRedis(BrokerSuite):
    title = "redis:// in a world"
    url = "redis://"


@pytest.mark.virtual_time
class TestAmqp(BrokerSuite):
    title = "amqp:// in a world"
    url = "amqp://"


@pytest.mark.virtual_time
class TestTcp(CarriedSuite):
    title = "tcp:// in a world"
    url = "tcp://"
