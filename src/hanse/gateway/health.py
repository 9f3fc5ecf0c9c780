"""Whether the process is alive, has started, and is ready: for supervisors and balancers."""

from __future__ import annotations

from hanse.gateway.asgi import Request, Response
from hanse.gateway.private import may_see
from hanse.kernel.codec import encode_json
from hanse.node.node import Node

_HEADERS = ((b"cache-control", b"no-store"),)
_LATER = (*_HEADERS, (b"retry-after", b"1"))
_OK = b'{"status":"ok"}'
_WELL = "ok"
_NOT_STARTED = frozenset({"new", "starting"})


class Health:
    """The handlers of `/livez`, `/startupz` and `/readyz`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def live(self, request: Request) -> Response:
        """Whether the loop turns: whoever gets this answer knows. Never fails for a dependency."""
        del request
        return Response(200, _OK, _HEADERS)

    async def started(self, request: Request) -> Response:
        """Whether the node has come up; it stays so, whatever happens to it later."""
        del request
        if self._node.state in _NOT_STARTED:
            return Response(503, encode_json({"status": self._node.state}), _LATER)
        return Response(200, _OK, _HEADERS)

    async def ready(self, request: Request) -> Response:
        """Whether requests are wanted; with `?verbose`, and for the operator only, the state of each dependency."""
        checks = await self._node.health()
        ready = self._node.state == "ready" and all(state == _WELL for state in checks.values())
        told: dict[str, object] = {"status": self._node.state if self._node.state != "ready" or ready else "degraded"}
        if request.query.startswith("verbose") and may_see(request, self._node.settings.gateway):
            told["checks"] = checks
        return Response(200 if ready else 503, encode_json(told), _HEADERS if ready else _LATER)
