"""Other sites' pages may not write through a visitor's browser (CSRF), nor listen over WebSocket. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from hanse.gateway.asgi import Request
from hanse.kernel.faults import Forbidden

OURS = frozenset({"same-origin", "none"})


def check_origin(request: Request) -> None:
    """Refuse what a page of another site has its visitor's browser send; programs send neither header, and pass.

    `Sec-Fetch-Site` counts where it is sent, since it survives proxies that rewrite Host; else Origin against Host.

    Raises:
        Forbidden: It comes from another site.
    """
    site = request.header(b"sec-fetch-site")
    if site:
        if site in OURS:
            return
    else:
        origin = request.header(b"origin")
        if not origin or urlsplit(origin).netloc == request.header(b"host"):
            return
    raise Forbidden("pages of another origin may not do this; serve the page from here, or call from a program")
