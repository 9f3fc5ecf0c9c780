"""The public suite of transports, over sockets: nodes that a folder makes known to each other, chosen by the mesh."""

from __future__ import annotations

from tests.transport.folder_suite import FolderSuite, direct_of, discovery_of

from hanse.kernel.host import Host
from hanse.transport.base import Transport
from hanse.transport.stream.direct import StreamDirect


class StreamSuite(FolderSuite):
    """Over sockets."""

    def direct(self, url: str, host: Host, instance: str) -> StreamDirect:
        return StreamDirect(url, host, instance=instance)

    async def kill(self, node: Transport) -> None:
        """Have the kernel close what a process has open; its socket files stay."""
        direct, discovery = direct_of(node), discovery_of(node)
        for server in (direct._server, discovery._server):
            assert server is not None
            server.close()
        for wire in list(direct._all):
            wire.abort("killed")
        for peer in list(discovery._peers):
            peer.abort()
        await discovery._tasks.cancel()
        await direct._tasks.cancel()
        assert direct._sweep is not None
        direct._sweep.cancel()


class TestUnixTransport(StreamSuite):
    title = "unix:"
    url = "unix:{}"


class TestTcpTransport(StreamSuite):
    title = "tcp://"
    url = "tcp://"
