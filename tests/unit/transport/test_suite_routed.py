"""What finds its way from node to node by the mesh keeps every promise of a transport."""

import asyncio
from collections.abc import Sequence

from hanse.kernel.host import Host
from hanse.mesh.routed import Routed
from hanse.testing.local import AHEAD_MAX, LocalDirect, LocalNetwork
from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport


class TestRouted(TransportSuite):
    title = "mesh, over a network within one process"
    ahead_max = AHEAD_MAX + 2

    def setup_method(self) -> None:
        self.network = LocalNetwork()
        self.directs: dict[Transport, LocalDirect] = {}

    async def join(self) -> Transport:
        name = f"node-{len(self.directs)}"
        direct, discovery = self.network.direct(name), self.network.discovery()
        here = Announcement(name, "")
        routed = Routed(here, MemoryTransport(), direct, discovery, host=Host.system(), first_seconds=0.0)
        self.directs[routed] = direct
        return routed

    async def settle(self, nodes: Sequence[Transport]) -> None:
        await asyncio.sleep(0)  # each says all that it serves once in a turn of the loop

    async def kill(self, node: Transport) -> None:
        self.directs[node].kill()
