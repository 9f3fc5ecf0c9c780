"""Which pages of other origins may use this door from a visitor's browser (https://fetch.spec.whatwg.org/#http-cors).

Off until configured: without it other pages can neither write nor read an answer. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from hanse.gateway.asgi import Header, Request, Response
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Forbidden, Misdeclared

ASKABLE = (
    "accept",
    "authorization",
    "baggage",
    "content-encoding",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "last-event-id",
    "prefer",
    "traceparent",
    "tracestate",
    "x-request-id",
)
"""Headers that pages may send: those that a gateway understands."""

TOLD = (
    "etag",
    "link",
    "location",
    "preference-applied",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-request-id",
)
"""Headers of answers that pages may read."""

ANYBODY: Literal["*"] = "*"

_ORIGIN = re.compile(r"(https?)://(\*\.)?([a-z0-9.\-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Cors:
    """Pages that may use a gateway.

    Attributes:
        credentials: Whether cookies may come along.

    Example:
        >>> cors = Cors(origins=("https://shop.example", "https://*.partner.example"))
        >>> cors.allows("https://www.partner.example"), cors.allows("https://partner.example.evil")
        (True, False)
    """

    def __init__(
        self,
        origins: Sequence[str] | Literal["*"],
        *,
        credentials: bool = False,
        headers: Sequence[str] = (),
        expose: Sequence[str] = (),
        max_age: Duration = "10m",
    ) -> None:
        """Allow some origins, or all.

        Args:
            origins: Such as `https://shop.example`, with a port where it is not the usual; `https://*.shop.example`
                stands for whatever is below; `"*"` for everybody.
            credentials: Whether the browser may send cookies and client certificates along.
            headers: That pages may send, besides those that a gateway understands.
            expose: Headers of answers that pages may read, besides those that a gateway sends.
            max_age: How long a browser may keep the answer to its question, such as `"10m"`.

        Raises:
            Misdeclared: An origin cannot be, or everybody would be allowed with credentials.
        """
        self._anybody = origins == ANYBODY
        listed = () if self._anybody else tuple(origins)
        if isinstance(origins, str) and not self._anybody:
            raise Misdeclared(f"expected a list of origins, got the text {origins!r}; write [{origins!r}]")
        if ANYBODY in listed or (self._anybody and credentials):
            raise Misdeclared(
                "pages of every origin with credentials would be every page acting as its visitor; "
                "list the origins, or leave credentials=True out"
            )
        if wrong := [origin for origin in listed if not _ORIGIN.fullmatch(origin)]:
            raise Misdeclared(f"expected an origin such as https://shop.example, without a path, got {wrong[0]!r}")
        if wrong := [name for name in (*headers, *expose) if not _NAME.fullmatch(name)]:
            raise Misdeclared(f"expected the name of a header, got {wrong[0]!r}")
        self._exact = frozenset(origin for origin in listed if "*" not in origin)
        self._below = tuple(_pattern(origin) for origin in listed if "*" in origin)
        self.credentials: bool = credentials
        self._headers = ", ".join(dict.fromkeys([*ASKABLE, *(name.lower() for name in headers)])).encode()
        self._expose = ", ".join(dict.fromkeys([*TOLD, *(name.lower() for name in expose)])).encode()
        self._max_age = str(round(seconds(max_age))).encode()

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin may."""
        return self._anybody or origin in self._exact or any(one.fullmatch(origin) for one in self._below)

    def headers(self, origin: str) -> tuple[Header, ...]:
        """What every answer says, errors too, to a page of this origin; an empty one for no page."""
        # What the answer is depends on who asks, also where this one is not allowed: caches have to know.
        vary: tuple[Header, ...] = () if self._anybody else ((b"vary", b"Origin"),)
        if not origin or not self.allows(origin):
            return vary
        return (*vary, *self._allowing(origin), (b"access-control-expose-headers", self._expose))

    def preflight(self, request: Request, allowed: str) -> Response | None:
        """The answer to a browser that asks whether its page may; None for any other request.

        Args:
            request: What came.
            allowed: The methods that are possible at its path.

        Raises:
            Forbidden: The page may not.
        """
        origin = request.header(b"origin")
        if request.method != "OPTIONS" or not origin or not request.header(b"access-control-request-method"):
            return None
        if not self.allows(origin):
            raise Forbidden(f"pages of {origin[:200]} may not use this gateway; its Cors lists those that may")
        told: tuple[Header, ...] = (
            (b"access-control-allow-methods", allowed.encode()),
            (b"access-control-allow-headers", self._headers),
            (b"access-control-max-age", self._max_age),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        )
        return Response(204, b"", told, "")

    def _allowing(self, origin: str) -> tuple[Header, ...]:
        allowed = (b"access-control-allow-origin", b"*" if self._anybody else origin.encode("latin-1"))
        return (allowed, (b"access-control-allow-credentials", b"true")) if self.credentials else (allowed,)


def _pattern(origin: str) -> re.Pattern[str]:
    before, _, after = origin.partition("*")
    return re.compile(re.escape(before) + r"[a-z0-9\-]+(\.[a-z0-9\-]+)*" + re.escape(after))
