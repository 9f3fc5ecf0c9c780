"""Whether the process is alive and whether it is ready: for supervisors and balancers."""

from __future__ import annotations

from hanse.gateway.asgi import Request, Response
from hanse.kernel.codec import encode_json
from hanse.node.node import Node

_HEADERS = ((b"cache-control", b"no-store"),)
_WELL = "ok"


class Health:
    """The handlers of `/livez` and `/readyz`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def live(self, request: Request) -> Response:
        """Whether the loop turns: whoever gets this answer knows. Never fails for a dependency."""
        del request
        return Response(200, b'{"status":"ok"}', _HEADERS)

    async def ready(self, request: Request) -> Response:
        """Whether requests are wanted; with `?verbose`, the state of each dependency."""
        checks = await self._node.health()
        ready = self._node.state == "ready" and all(state == _WELL for state in checks.values())
        told: dict[str, object] = {"status": self._node.state if self._node.state != "ready" or ready else "degraded"}
        if request.query.startswith("verbose"):
            told["checks"] = checks
        headers = _HEADERS if ready else (*_HEADERS, (b"retry-after", b"1"))
        return Response(200 if ready else 503, encode_json(told), headers)
