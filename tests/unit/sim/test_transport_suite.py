"""The twin of a transport keeps every promise of a transport, in virtual time."""

import asyncio
from typing import cast

import pytest

from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import KEEPALIVE_SECONDS, Network
from hanse.sim.trace import Trace
from hanse.sim.transport import AHEAD_MAX, SimTransport
from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport


@pytest.mark.virtual_time
class TestSimTransport(TransportSuite):
    title = "simulation"
    ahead_max = AHEAD_MAX

    def setup_method(self) -> None:
        self.joined: dict[Transport, Lane] = {}

    async def join(self) -> Transport:
        loop = cast("Loop", asyncio.get_running_loop())
        if not self.joined:
            self.network = Network(loop, Trace(), 7)
        lane = Lane(loop, f"node-{len(self.joined)}")
        node = SimTransport(self.network, lane)
        self.joined[node] = lane
        return node

    async def kill(self, node: Transport) -> None:
        self.joined[node].kill()
        self.network.died(cast("SimTransport", node).port, dark=False)

    async def sever(self, node: Transport) -> None:
        links = self.network.links_of(self.joined[node].name, [lane.name for lane in self.joined.values()])
        self.network.cut(links)
        await asyncio.sleep(KEEPALIVE_SECONDS + 1.0)
        self.network.mend(links)
