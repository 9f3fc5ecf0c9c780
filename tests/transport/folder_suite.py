"""What the suites of transports have in common that go from node to node, and find each other in a folder."""

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

_instances = map("node-%d".__mod__, itertools.count(1))


class FolderSuite(TransportSuite):
    """Nodes in a folder, which are told of at once; a kind of connection says how they are made, and killed."""

    ahead_max = 129
    url: str

    @pytest.fixture(autouse=True)
    def _folder(self) -> Iterator[None]:
        with TemporaryDirectory(prefix="hs-", dir="/tmp") as folder:
            self.folder: Path = Path(folder)
            yield

    def direct(self, url: str, host: Host, instance: str) -> StreamDirect:
        """What carries messages to the addresses of others."""
        raise AssertionError(url, host, instance)

    async def join(self) -> Transport:
        host, instance = Host.system(), next(_instances)
        direct = self.direct(self.url.format(self.folder), host, instance)
        here = Announcement(instance, "", app="suite")
        return Routed(here, MemoryTransport(), direct, FolderDiscovery(self.folder), host=host)

    async def settle(self, nodes: Sequence[Transport]) -> None:
        """Wait until all know of all what they serve now."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not all(self._knows(a, b) for a in nodes for b in nodes if a is not b):  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # each hears of the others by itself, and tells nobody that it has

    async def sever(self, node: Transport) -> None:
        for wire in list(direct_of(node)._all):
            wire.abort("the cable was pulled")

    @staticmethod
    def _knows(one: Transport, other: Transport) -> bool:
        assert isinstance(other, Routed)
        heard = discovery_of(one)._known.get(other.here.instance)
        return heard is not None and set(heard.names) == set(other._served)


def direct_of(node: Transport) -> StreamDirect:
    assert isinstance(node, Routed)
    assert isinstance(node._direct, StreamDirect)
    return node._direct


def discovery_of(node: Transport) -> FolderDiscovery:
    assert isinstance(node, Routed)
    assert isinstance(node._discovery, FolderDiscovery)
    return node._discovery
