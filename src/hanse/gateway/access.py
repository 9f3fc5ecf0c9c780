"""A line of log for each request: who asked what, and how it was answered. Never a query or a body: they hold secrets.

The logger is `hanse.access`. A path is told as it was declared, so that no id is in it either; one that nothing answers
is told as it came. Health, figures and the page are not told: they are asked all the time.
"""

from __future__ import annotations

import logging

from hanse.gateway.asgi import Request

PATH_CHARACTERS_MAX = 200
"""Of a path that nothing answers."""

_SWITCHING = 101
_log = logging.getLogger("hanse.access")


def tell(request: Request, seconds: float, *, status: int = 0, size: int | None = None) -> None:
    """Log a request that is over.

    Args:
        request: What came.
        seconds: From its head to the end of its answer.
        status: What was answered as a whole; 0 for an answer that went on, was sent by somebody else, or never came.
        size: Bytes of the body that was answered; None where nobody has counted.
    """
    status = status or request.status or request.begun
    about: dict[str, object] = {
        "http.request.method": request.method,
        **({"http.route": request.template} if request.template else {"url.path": _shown(request.path)}),
        **({"http.response.status_code": status} if status else {"error.type": "cancelled"}),
        **({} if size is None else {"http.response.body.size": size}),
        "http.server.request.duration": round(seconds, 6),
        **({"client.address": request.address} if request.address else {}),
        **({"request_id": request.id, "trace_id": request.trace_id} if request.id else {}),
    }
    where, took = request.template or _shown(request.path), f"{seconds * 1000:.1f} ms"
    more = [took, *([] if size is None else [f"{size} B"]), *filter(None, (request.address, request.id))]
    _log.info("%s %s %s %s", request.method, where, status or "gone", " ".join(more), extra=about)


def accepted(request: Request) -> None:
    """Note that a handshake was taken."""
    request.begun = _SWITCHING


def _shown(path: str) -> str:
    """A path that may have come from anybody, on one line, without what a terminal would obey."""
    cut = path[:PATH_CHARACTERS_MAX]
    return cut if cut.isprintable() else ascii(cut)
