"""The public suite of transports, against a real server that is killed and started amid the tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from hanse.kernel.host import Host
from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport
from hanse.transport.redis.options import Options
from hanse.transport.redis.transport import RedisTransport

from .server import Server

SILENCE_SECONDS = 5.0
"""More than by default: a crowd of calls waits for a process that has half of a busy machine."""

_apps = map("suite-%d".__mod__, itertools.count(1))


class TestRedisTransport(TransportSuite):
    title = "redis://"
    ahead_max = 128

    @pytest.fixture(autouse=True)
    def _app(self, server: Server) -> None:
        self.server: Server = server
        self.app: str = next(_apps)

    async def join(self) -> Transport:
        return RedisTransport(self.server.url, Host.system(), Options(app=self.app, silence=SILENCE_SECONDS))

    async def settle(self, nodes: Sequence[Transport]) -> None:
        for node in nodes:
            assert isinstance(node, RedisTransport)
            await node.flush()

    async def sever(self, node: Transport) -> None:
        assert isinstance(node, RedisTransport)
        assert node.native.native is not None
        node.native.native.abort("its cable was pulled")

    async def kill(self, node: Transport) -> None:
        assert isinstance(node, RedisTransport)
        connection = node.native
        await connection._tasks.cancel()
        for wire in connection._live:
            wire.abort("it was killed")
        node._station.pulse.close()
        node._station.served.drop(lambda _: True)

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)
