"""The transport within one process keeps every promise that it can."""

from hanse.testing.transport import TransportSuite
from hanse.transport.base import Transport
from hanse.transport.memory import MemoryTransport


class TestMemoryTransport(TransportSuite):
    title = "memory:"
    ahead_max = 1

    def setup_method(self) -> None:
        self.shared = MemoryTransport()

    async def join(self) -> Transport:
        return self.shared
