"""`/ledgerz`: what a node has counted of calls and messages, for the platform that judges its release."""

from __future__ import annotations

from hanse.gateway.asgi import Request, Response
from hanse.gateway.private import may_see, refused
from hanse.gateway.process import LoopLag
from hanse.kernel.codec import encode_json
from hanse.node.node import Node

_HEADERS = ((b"cache-control", b"no-store"),)


class Ledgers:
    """The handler of `/ledgerz`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lag = LoopLag()

    async def __call__(self, request: Request) -> Response:
        """All that was counted, for those who may see it."""
        settings = self._node.settings.gateway
        if not may_see(request, settings):
            return refused(request, settings)
        ledger = self._node.ledger()
        ledger.lag = self._lag.take()
        return Response(200, encode_json(ledger), _HEADERS)
