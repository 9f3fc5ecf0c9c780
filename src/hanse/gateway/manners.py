"""What every request meets at the door, whatever it is for: proxies, pages of other origins, rates."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import cast

from hanse.gateway.asgi import Event, Header, Request, Response, Send
from hanse.gateway.coding import uncoded
from hanse.gateway.cors import Cors
from hanse.gateway.forwarded import Proxies
from hanse.gateway.hosts import Hosts
from hanse.gateway.origin import check_origin
from hanse.gateway.rates import Meters, Refused
from hanse.kernel.faults import Malformed
from hanse.kernel.message import RELEASE_WISH, Identity

_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/@-]{0,127}")
"""It becomes a part of the names that brokers know services by, where some other signs have a meaning of their own."""


class Manners:
    """How one gateway receives.

    Args of the constructor:
        proxies: Those that are believed.
        cors: Pages of other origins that may use it; None for none.
        meters: What callers have used of their rates; None where there are none.
        now: A clock that only goes forward.
        hosts: The names that it answers under; None for any.
        forcing: Those that may choose a release; None for nobody.
    """

    def __init__(
        self,
        proxies: Proxies | None,
        cors: Cors | None,
        meters: Meters | None,
        now: Callable[[], float],
        *,
        hosts: Hosts | None = None,
        forcing: Proxies | None = None,
    ) -> None:
        self._proxies = proxies
        self._cors = cors
        self._meters = meters
        self._now = now
        self._hosts = hosts
        self._forcing = forcing

    @property
    def charges(self) -> bool:
        """Whether `charge` counts anything."""
        return self._meters is not None

    def greet(self, request: Request) -> None:
        """See who asks, and make sure that whatever is answered says what it has to."""
        uncoded(request)
        if self._proxies is not None:
            _see_through(request, self._proxies)
        if self._cors is not None:
            tell(request, self._cors.headers(request.header(b"origin")))

    def check_host(self, request: Request) -> None:
        """Refuse a request that is for somebody else.

        Raises:
            Misdirected: It came under a name that is not ours.
        """
        if self._hosts is not None:
            self._hosts.check(request.header(b"host"))

    def release(self, request: Request) -> str:
        """The release that a request chooses for itself, and for all that is called for it; empty for none.

        What others say who may not choose is passed over, as an edge does.

        Raises:
            Malformed: It is no name of a release.
        """
        if self._forcing is None or request.plain or not (wish := request.header(RELEASE_WISH)):
            return ""
        if not self._forcing.trusts(request.address):
            return ""
        if not _RELEASE.fullmatch(wish):
            raise Malformed(
                f"expected one release in X-Hanse-Release, of letters, digits and . _ + : / @ -, got {wish[:80]!r}"
            )
        return wish

    def preflight(self, request: Request, allowed: Callable[[], str]) -> Response | None:
        """The answer to a browser that asks whether its page may; None for any other request.

        Raises:
            Forbidden: The page may not.
        """
        if self._cors is None or request.method != "OPTIONS":
            return None
        return self._cors.preflight(request, allowed())

    def check_origin(self, request: Request) -> None:
        """Refuse a page that may not write or listen.

        Raises:
            Forbidden: It comes from another site, and Cors does not list it.
        """
        check_origin(request, self._cors)

    def charge(self, request: Request, identity: Identity) -> None:
        """Count a request against the rates.

        Raises:
            RateExceeded: There are too many of this caller.
        """
        if self._meters is None:
            return
        caller = identity.caller
        try:
            headers = self._meters.charge(request.method, request.path, caller, request.address, self._now())
        except Refused as refused:
            tell(request, refused.headers)
            raise refused.fault from None
        tell(request, headers)
        if request.scope["type"] == "websocket":
            request.charge = partial(self._charge_ask, self._meters, caller, request.address)

    def _charge_ask(self, meters: Meters, caller: str, address: str, method: str, path: str) -> None:
        """Count what is asked over a WebSocket, where nothing but a refusal can be told.

        Raises:
            RateExceeded: There are too many of this caller.
        """
        try:
            _ = meters.charge(method, path, caller, address, self._now())
        except Refused as refused:
            raise refused.fault from None


def _see_through(request: Request, proxies: Proxies) -> None:
    request.trusted = proxies.trusts(request.address)
    seen = proxies.seen(request.address, request.header)
    if seen.address != request.address or seen.scheme:
        port = 0 if seen.address != request.address else cast("tuple[str, int]", request.scope["client"])[1]
        scheme = seen.scheme or request.scope.get("scheme", "http")
        if request.scope["type"] == "websocket":
            scheme = {"http": "ws", "https": "wss"}.get(str(scheme), scheme)
        request.scope = {**request.scope, "client": (seen.address, port), "scheme": scheme}
    if seen.host:
        request.set_header(b"host", seen.host)
    request.prefix = seen.prefix


def tell(request: Request, headers: tuple[Header, ...]) -> None:
    """Add headers to whatever will be answered, but what the answer says by itself of the same kind."""
    if not headers:
        return
    send: Send = request.send

    async def told(event: Event) -> None:
        if str(event["type"]).endswith("response.start"):
            own = cast("list[Header]", event["headers"])
            names = {name.lower() for name, _ in own} - {b"vary"}
            event = {**event, "headers": [*own, *(pair for pair in headers if pair[0] not in names)]}
        await send(event)

    request.send = told
