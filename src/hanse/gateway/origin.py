"""Other sites' pages may not write through a visitor's browser (CSRF), nor listen over WebSocket. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from hanse.gateway.asgi import Request
from hanse.gateway.cors import Cors
from hanse.kernel.faults import Forbidden

OURS = frozenset({"same-origin", "none"})


def check_origin(request: Request, cors: Cors | None = None) -> None:
    """Refuse what a page of another site has its visitor's browser send; programs send neither header, and pass.

    `Sec-Fetch-Site` counts where it is sent, since it survives proxies that rewrite Host; else Origin against Host.
    A page that Cors lists passes too; but where Cors takes no credentials, not with cookies, which browsers send along
    with forms and handshakes whatever Cors says.

    Raises:
        Forbidden: It comes from another site.
    """
    if request.plain:
        return
    site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
    if site:
        if site in OURS:
            return
    elif not origin or urlsplit(origin).netloc == request.header(b"host"):
        return
    if cors is not None and origin and cors.allows(origin) and (cors.credentials or not request.header(b"cookie")):
        return
    raise Forbidden("pages of another origin may not do this; serve the page from here, or list its origin in Cors")
