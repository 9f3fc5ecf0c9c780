"""The public suite of transports over a real NATS."""

from __future__ import annotations

from tests.transport.broker_suite import BrokerSuite
from tests.transport.brokered import Node

from hanse.transport.nats.transport import NatsTransport


class TestNatsTransport(BrokerSuite):
    title = "nats://"
    query = "?events_bytes=100000000"

    def cut(self, one: Node, why: str, *, whole: bool = False) -> None:
        del why, whole
        assert isinstance(one, NatsTransport)
        assert one.native.native is not None
        one.native.native.abort()

    async def keeps_no_more(self, one: Node) -> None:
        assert isinstance(one, NatsTransport)
        for backlog in one._keeper._backlogs:
            await backlog._tasks.cancel()
