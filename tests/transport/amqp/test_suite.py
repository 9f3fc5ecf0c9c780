"""The public suite of transports over a real RabbitMQ."""

from __future__ import annotations

from tests.transport.broker_suite import BrokerSuite
from tests.transport.brokered import Node

from hanse.transport.amqp.transport import AmqpTransport


class TestAmqpTransport(BrokerSuite):
    title = "amqp://"
    silence = 10.0  # more than by default: a crowd of calls waits for a server that has a small part of a busy machine

    def cut(self, one: Node, why: str, *, whole: bool = False) -> None:
        assert isinstance(one, AmqpTransport)
        wires = one.native.native
        assert wires is not None
        for wire in (wires.out, wires.into) if whole else (wires.out,):
            wire.abort(why)

    async def keeps_no_more(self, one: Node) -> None:
        assert isinstance(one, AmqpTransport)
        await one._keeping.close()
