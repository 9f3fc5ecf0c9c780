"""The public suite of transports, over ZeroMQ: nodes that a folder makes known to each other, chosen by the mesh."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hanse.kernel.host import Host
from hanse.mesh.routed import Routed
from hanse.testing.transport import TransportSuite
from hanse.testing.transport_things import WAIT_SECONDS
from hanse.transport.base import Transport
from hanse.transport.discovery import Announcement
from hanse.transport.folder import FolderDiscovery
from hanse.transport.memory import MemoryTransport
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.zmq.direct import zmq_direct
from hanse.transport.zmq.listening import Listening

_instances = map("node-%d".__mod__, itertools.count(1))


class ZmqSuite(TransportSuite):
    """Nodes in a folder, which are told of at once."""

    ahead_max = 129
    url: str

    @pytest.fixture(autouse=True)
    def _folder(self) -> Iterator[None]:
        with TemporaryDirectory(prefix="hs-", dir="/tmp") as folder:
            self.folder: Path = Path(folder)
            yield

    async def join(self) -> Transport:
        host, instance = Host.system(), next(_instances)
        direct = zmq_direct(self.url.format(self.folder), host, instance=instance)
        here = Announcement(instance, "", app="suite")
        return Routed(here, MemoryTransport(), direct, FolderDiscovery(self.folder), host=host)

    async def settle(self, nodes: Sequence[Transport]) -> None:
        """Wait until all know of all what they serve now."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not all(self._knows(a, b) for a in nodes for b in nodes if a is not b):  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def sever(self, node: Transport) -> None:
        for wire in list(_direct(node)._all):
            wire.abort("the cable was pulled")

    async def kill(self, node: Transport) -> None:
        """Have ZeroMQ close what a process has open, without a goodbye."""
        direct, discovery = _direct(node), _discovery(node)
        listening = direct.native
        assert isinstance(listening, Listening)
        listening.end()
        for wire in list(direct._all):
            wire.abort("killed")
        assert discovery._server is not None
        discovery._server.close()
        for peer in list(discovery._peers):
            peer.abort()
        await discovery._tasks.cancel()
        await direct._tasks.cancel()
        assert direct._sweep is not None
        direct._sweep.cancel()

    @staticmethod
    def _knows(one: Transport, other: Transport) -> bool:
        assert isinstance(other, Routed)
        heard = _discovery(one)._known.get(other.here.instance)
        return heard is not None and set(heard.names) == set(other._served)


def _direct(node: Transport) -> StreamDirect:
    assert isinstance(node, Routed)
    assert isinstance(node._direct, StreamDirect)
    return node._direct


def _discovery(node: Transport) -> FolderDiscovery:
    assert isinstance(node, Routed)
    assert isinstance(node._discovery, FolderDiscovery)
    return node._discovery


class TestZmqTransport(ZmqSuite):
    title = "zmq://"
    url = "zmq://"


class TestZmqIpcTransport(ZmqSuite):
    title = "zmq+ipc:"
    url = "zmq+ipc:{}"
