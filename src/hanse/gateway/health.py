"""Whether the process is alive, has started, and is ready: for supervisors and balancers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping

from hanse.gateway.asgi import Request, Response
from hanse.gateway.private import may_see
from hanse.kernel.codec import encode_json
from hanse.node.health import Condition
from hanse.node.node import Node

KEPT_SECONDS = 1.0
"""How long what was seen of dependencies is told again, so that who asks often asks them no more often."""

TEXT = "text/plain; charset=utf-8"
_HEADERS = ((b"cache-control", b"no-store"),)
_LATER = (*_HEADERS, (b"retry-after", b"1"))
_OK = b'{"status":"ok"}'
_NOT_STARTED = frozenset({"new", "starting"})


class Health:
    """The handlers of `/livez`, `/startupz` and `/readyz`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._seen: Mapping[str, Condition] = {}
        self._looked = -math.inf
        self._looking = asyncio.Lock()

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
        """Whether requests are wanted; with `?verbose`, and for the operator only, the state of each dependency.

        As JSON, or as lines for those who ask for text.
        """
        checks = await self._conditions()
        ready = self._node.state == "ready" and all(one.state != "failing" for one in checks.values())
        status = self._node.state if self._node.state != "ready" or ready else "degraded"
        code, headers = (200, _HEADERS) if ready else (503, _LATER)
        if not request.query.startswith("verbose") or not may_see(request, self._node.settings.gateway):
            return Response(code, encode_json({"status": status}), headers)
        if request.accepts("text/plain") or request.accepts("text/html"):
            return Response(code, "".join(_lines(status, checks)).encode(), headers, TEXT)
        return Response(code, encode_json({"status": status, "checks": checks}), headers)

    async def _conditions(self) -> Mapping[str, Condition]:
        """How all is; looked at once for all who ask at about the same time, as anybody may."""
        async with self._looking:
            now = self._node.host.monotonic()
            if now - self._looked >= KEPT_SECONDS:
                self._seen = await self._node.health()
                self._looked = self._node.host.monotonic()
            return self._seen


def _lines(status: str, checks: Mapping[str, Condition]) -> Iterator[str]:
    yield f"{status}\n"
    width = max(map(len, checks), default=0)
    for name, one in checks.items():
        lag = f"  {one.lag} entries wait" if one.lag else ""
        why = f"  {' '.join(one.why.split())}" if one.why else ""
        yield f"{one.state:<7}  {name:<{width}}  since {one.since.isoformat(timespec='seconds')}{lag}{why}\n"
