"""The public suite of transports over a real Redis."""

from __future__ import annotations

from tests.transport.broker_suite import BrokerSuite
from tests.transport.brokered import Node

from hanse.transport.redis.transport import RedisTransport


class TestRedisTransport(BrokerSuite):
    title = "redis://"
    silence = 10.0  # more than by default: a crowd of calls waits for a server that has a small part of a busy machine

    def cut(self, one: Node, why: str, *, whole: bool = False) -> None:
        assert isinstance(one, RedisTransport)
        assert one.native.native is not None
        for wire in one.native._live if whole else [one.native.native]:
            wire.abort(why)
