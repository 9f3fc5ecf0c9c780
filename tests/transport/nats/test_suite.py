"""The public suite of transports, against a real NATS server that is killed and started amid the tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from hanse.kernel.host import Host
from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport
from hanse.transport.nats.login import Options
from hanse.transport.nats.transport import NatsTransport

from .server import Server

_apps = map("suite-%d".__mod__, itertools.count(1))


class TestNatsTransport(TransportSuite):
    title = "nats://"
    ahead_max = 128

    @pytest.fixture(autouse=True)
    def _app(self, server: Server) -> None:
        self.server: Server = server
        self.app: str = next(_apps)

    async def join(self) -> Transport:
        return NatsTransport(f"{self.server.url}?events_bytes=100000000", Host.system(), Options(app=self.app))

    async def settle(self, nodes: Sequence[Transport]) -> None:
        for node in nodes:
            assert isinstance(node, NatsTransport)
            await node.flush()

    async def sever(self, node: Transport) -> None:
        assert isinstance(node, NatsTransport)
        wire = node.native.native
        assert wire is not None
        wire.abort()

    async def kill(self, node: Transport) -> None:
        assert isinstance(node, NatsTransport)
        await node._connection._tasks.cancel()
        wire = node.native.native
        assert wire is not None
        wire.abort()
        node._station.pulse.close()
        node._station.served.drop(lambda _: True)
        for backlog in node._keeper._backlogs:
            await backlog._tasks.cancel()

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)
