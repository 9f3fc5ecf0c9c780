"""Whom an operator's endpoints answer: this machine alone, unless a setting opens them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import cast

from hanse.gateway.asgi import Request

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via", b"x-forwarded-host", b"x-forwarded-proto")
_PROXIES_SPEAK = "1.0"
"""Version of HTTP that nginx asks with unless told otherwise, while it names neither itself nor its client."""

_NAMES = frozenset({"", "localhost"})


def may_see(request: Request, setting: str) -> bool:
    """Whether the one who asks may see what is the operator's.

    Args:
        request: What came.
        setting: `local`, `open` or `off`.
    """
    return setting == "open" or (setting == "local" and is_local(request))


def is_local(request: Request) -> bool:
    """Whether a request was made on this machine, for it.

    A proxy of this machine asks for others, and says so, or is known by its old HTTP; a page that a name was pointed
    here for (DNS rebinding) names itself in `Host`. All of them are strangers. A proxy that hides better than that
    cannot be told from a tool of this machine: see `docs/learn/watching.md`.
    """
    client = cast("Sequence[object] | None", request.scope.get("client"))
    if not client or not _is_loopback(str(client[0])) or any(request.header(name) for name in _FORWARDED):
        return False
    if request.scope.get("http_version") == _PROXIES_SPEAK:
        return False
    host = host_in(request.header(b"host"))
    return host in _NAMES or is_address(host)


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
