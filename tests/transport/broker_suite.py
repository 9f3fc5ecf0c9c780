"""The public suite of transports, against the real server of a broker that is killed and started amid the tests."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence

import pytest

from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport

from .brokered import Node, apps, node
from .process import ServerProcess


class BrokerSuite(TransportSuite):
    """Derive from it beside a fixture `server`, and say how sockets are broken.

    Attributes:
        silence: Seconds after which a node that says nothing is taken for dead.
        query: Behind the server's URL.
    """

    ahead_max = 128
    silence: float = 3.0
    query: str = ""

    @pytest.fixture(autouse=True)
    def _app(self, server: ServerProcess) -> None:
        self.server: ServerProcess = server
        self.app: str = next(apps)

    async def join(self) -> Transport:
        return node(self.server.url + self.query, self.app, silence=self.silence)

    async def settle(self, nodes: Sequence[Transport]) -> None:
        for one in nodes:
            await _node(one).flush()

    async def sever(self, node: Transport) -> None:
        self.cut(_node(node), "its cable was pulled")

    async def kill(self, node: Transport) -> None:
        one = _node(node)
        await one.native._tasks.cancel()
        await self.keeps_no_more(one)
        self.cut(one, "it was killed", whole=True)
        one._station.pulse.close()
        one._station.served._cancel(list(one._station.served.works))

    async def restart(self) -> None:
        await asyncio.to_thread(self.server.restart)

    @abstractmethod
    def cut(self, one: Node, why: str, *, whole: bool = False) -> None:
        """End a socket of a node's, or the whole of them, as when its machine goes."""

    async def keeps_no_more(self, one: Node) -> None:
        """End what a node does for events that are kept."""


def _node(one: Transport) -> Node:
    assert isinstance(one, Node)
    return one
