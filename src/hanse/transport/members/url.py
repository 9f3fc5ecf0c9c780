"""The URLs of discoveries: where others are, and which of this machine's networks and ports to use."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.url import split_url
from hanse.transport.members.addresses import PORT_MAX, parts_of

PLACES_MAX = 64
"""Places in one URL: of thousands of members a few are enough to find all."""


class DiscoveryUrl(msgspec.Struct, frozen=True):
    """What a URL says.

    Attributes:
        places: Hosts and ports.
        interface: What to speak on; empty where it names none.
        port: The own port; 0 where it names none.
    """

    places: tuple[tuple[str, int], ...] = ()
    interface: str = ""
    port: int = 0


def parse_url(url: str, expected: str, port: int) -> DiscoveryUrl:
    """The places and options in a URL.

    Args:
        url: `scheme://host:port,host:port?interface=eth0&port=7421`.
        expected: Such a URL, for whoever wrote another.
        port: That of places which name none.

    Raises:
        Misconfigured: It is not of this form.

    Example:
        >>> parse_url("static://a:1,b?port=7421", "static://a:1", 7420)
        DiscoveryUrl(places=(('a', 1), ('b', 7420)), interface='', port=7421)
    """
    try:
        parts = split_url(url)
    except ValueError:
        raise Misconfigured(f"expected {expected}, got {url!r}") from None
    wanted = [part for part in parts.netloc.split(",") if part]
    places = [place for part in wanted if (place := parts_of(part, port)) is not None]
    if len(places) < len(wanted) or len(places) > PLACES_MAX or parts.path.strip("/") or parts.fragment:
        raise Misconfigured(f"expected {expected} (at most {PLACES_MAX} places), got {url!r}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    interface, own = options.pop("interface", ""), options.pop("port", "0")
    if options:
        # A key is none of them: URLs are printed and logged.
        names = ", ".join(options)
        raise Misconfigured(f"expected interface= and port= as the options of {url.partition('?')[0]!r}, got {names}")
    if not own.isdecimal() or not own.isascii() or int(own[:6]) > PORT_MAX:
        raise Misconfigured(f"expected a port from 1 to {PORT_MAX} as port= of {url!r}, got {own!r}")
    return DiscoveryUrl(tuple(places), interface, int(own))
