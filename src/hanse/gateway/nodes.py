"""`/nodez`: which nodes there are, as this one knows; for `hanse nodes` and `hanse services --watch`."""

from __future__ import annotations

from hanse.gateway.asgi import Request, Response
from hanse.gateway.private import may_see, refused
from hanse.gateway.problem import problem_response
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault
from hanse.node.node import Node

_HEADERS = ((b"cache-control", b"no-store"),)


class Nodes:
    """The handler of `/nodez`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, request: Request) -> Response:
        """The nodes, for those who may see them."""
        settings = self._node.settings.gateway
        if not may_see(request, settings):
            return refused(request, settings)
        try:
            return Response(200, encode_json(await self._node.nodes()), _HEADERS)
        except Fault as fault:
            return problem_response(fault)
