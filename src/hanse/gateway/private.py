"""Whom an operator's pages answer: this machine alone, or whoever knows the token, unless a setting opens them. Pure.

All that a proxy of this machine brings comes from this machine. Most proxies say so, in one of the ways that are looked
for here; of one that does not, only a token keeps strangers out: see `docs/learn/watching.md`.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

from hanse.gateway.asgi import Request, Response
from hanse.gateway.problem import NoRoute, problem_response
from hanse.kernel.faults import Fault
from hanse.kernel.settings import GatewaySettings

_FORWARDED = (b"x-forwarded-", b"x-real-", b"x-original-", b"x-client-", b"x-envoy-", b"cf-")
_FORWARDING = frozenset({b"forwarded", b"via", b"true-client-ip", b"x-scheme"})
"""Headers that proxies add, and how such headers begin."""

_PROXIES_SPEAK = "1.0"
"""Version of HTTP that nginx asks with unless told otherwise, while it names neither itself nor its client."""

_NAMES = frozenset({"", "localhost"})
_BEARER = "bearer "


class Private(Fault, status=403, detail="{path} is the operator's: {why}; or set {setting}"):
    """A page for the operator, who asked from this machine, but may be a proxy of strangers."""

    path: str
    why: str
    setting: str = "gateway.metrics_token and send it as `Authorization: Bearer ...`"


def may_see(request: Request, settings: GatewaySettings) -> bool:
    """Whether the one who asks may see what is the operator's.

    Args:
        request: What came.
        settings: Whom it answers.
    """
    return not why_not(request, settings)


def why_not(request: Request, settings: GatewaySettings) -> str:
    """Why the one who asks may not see what is the operator's, and what to change; empty where they may.

    Args:
        request: What came.
        settings: Whom it answers.
    """
    if settings.metrics == "off":
        return "nobody may see it, as gateway.metrics says"
    if settings.metrics_token:
        return "" if _has_token(request, settings.metrics_token) else "send the token of gateway.metrics_token"
    return "" if settings.metrics == "open" else why_not_local(request)


def why_not_operator(request: Request, settings: GatewaySettings) -> str:
    """Why the one who asks may not act as the operator, and what to change; empty where they may.

    As `why_not`, but figures that are open to everybody make nobody an operator.
    """
    if settings.metrics_token:
        return "" if _has_token(request, settings.metrics_token) else "send the token of gateway.metrics_token"
    return why_not_local(request)


def refused(request: Request, settings: GatewaySettings) -> Response:
    """The answer to one who may not: to a stranger it is as if there were nothing, this machine is told what to do."""
    if settings.metrics == "off" or not _is_from_here(request):
        return problem_response(NoRoute(request.path))
    return problem_response(Private(request.path, why_not(request, settings) or why_not_operator(request, settings)))


def why_not_local(request: Request) -> str:
    """Why a request is not one that was made on this machine, for it; empty where it is.

    A proxy of this machine asks for others, and says so, or is known by its manners; a page that a name was pointed
    here for (DNS rebinding) names itself in `Host`. All of them are strangers.
    """
    if not _is_from_here(request):
        return "ask from this machine"
    named = next((name for name in request.headers() if _is_forwarding(name.encode())), "")
    if named:
        return f"ask without {named}, which proxies add"
    if request.scope.get("http_version") == _PROXIES_SPEAK:
        return "ask over HTTP/1.1; proxies speak HTTP/1.0"
    if request.header(b"connection").lower() == "close":
        return "ask without Connection: close, which proxies add"
    host = host_in(request.header(b"host"))
    return "" if host in _NAMES or _is_loopback(host) else "ask for localhost, not for another Host"


def _is_from_here(request: Request) -> bool:
    client = cast("Sequence[object] | None", request.scope.get("client"))
    return client is not None and _is_loopback(str(client[0]))


def _is_forwarding(name: bytes) -> bool:
    return name in _FORWARDING or name.startswith(_FORWARDED)


def _has_token(request: Request, token: str) -> bool:
    came = request.header(b"authorization")
    known = came[: len(_BEARER)].lower() == _BEARER
    return known and hmac.compare_digest(came[len(_BEARER) :].strip().encode(), token.encode())


def host_in(header: str) -> str:
    """The name or address in a `Host` header, in lower case, without its port.

    Example:
        >>> host_in("LocalHost:8000"), host_in("[::1]:8000"), host_in("[::1]")
        ('localhost', '::1', '::1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    # A socket for both families tells of IPv4 within IPv6.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_address(text: str) -> bool:
    """Whether a text is an address, of IPv4 or IPv6."""
    try:
        _ = ip_address(text)
    except ValueError:
        return False
    return True
