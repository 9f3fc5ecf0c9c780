"""The public suite of transports, over ZeroMQ: nodes that a folder makes known to each other, chosen by the mesh."""

from __future__ import annotations

from tests.transport.folder_suite import FolderSuite, direct_of, discovery_of

from hanse.kernel.host import Host
from hanse.transport.base import Transport
from hanse.transport.stream.direct import StreamDirect
from hanse.transport.zmq.direct import zmq_direct
from hanse.transport.zmq.listening import Listening


class ZmqSuite(FolderSuite):
    """Over ZeroMQ."""

    def direct(self, url: str, host: Host, instance: str) -> StreamDirect:
        return zmq_direct(url, host, instance=instance)

    async def kill(self, node: Transport) -> None:
        """Have ZeroMQ close what a process has open, without a goodbye."""
        direct, discovery = direct_of(node), discovery_of(node)
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


class TestZmqTransport(ZmqSuite):
    title = "zmq://"
    url = "zmq://"


class TestZmqIpcTransport(ZmqSuite):
    title = "zmq+ipc:"
    url = "zmq+ipc:{}"
