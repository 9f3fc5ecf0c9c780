"""Who asks, behind proxies: what trusted ones say of those before them, and nothing that anybody else says. Pure.

Each proxy adds at the right whom it was asked by. So the list is walked from the right, from the connection's own
peer on, for as long as whoever said it is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

import msgspec

from hanse.kernel.faults import Misconfigured

HOPS_MAX = 20
"""Entries of a list that are looked at, from the right."""

_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')
_HOST = re.compile(r"[A-Za-z0-9.\-_]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")

Header = Callable[[bytes], str]
"""The value of a request's header, by its name in lower case."""


class Seen(msgspec.Struct, frozen=True):
    """What is known of a request's way.

    Attributes:
        address: Of the client; where even trusted proxies do not say, of the last one that they name.
        scheme, host: That the client used; empty where nobody trusted says.
        prefix: Of paths, that a proxy took away; empty for none.
    """

    address: str
    scheme: str = ""
    host: str = ""
    prefix: str = ""


class Proxies:
    """The proxies that are trusted.

    Example:
        >>> proxies = Proxies(["10.0.0.0/8"])
        >>> headers = {b"x-forwarded-for": "6.6.6.6, 192.0.2.7, 10.0.0.2"}
        >>> proxies.seen("10.0.0.1", lambda name: headers.get(name, "")).address
        '192.0.2.7'
        >>> proxies.seen("6.6.6.6", lambda name: headers.get(name, "")).address
        '6.6.6.6'
    """

    def __init__(
        self,
        trusted: Sequence[str],
        style: Literal["x-forwarded", "forwarded"] = "x-forwarded",
        *,
        setting: str = "gateway.trusted_proxies",
    ) -> None:
        """Trust some addresses.

        Args:
            trusted: Addresses, and networks such as `10.0.0.0/8`.
            style: The headers that they set: only one kind is read, since a proxy hands on what it does not know.
            setting: Where they were named, for whoever mends it.

        Raises:
            Misconfigured: One of them is neither.
        """
        self._networks = tuple(_network(text, setting) for text in trusted)
        self._style = style

    def trusts(self, address: str) -> bool:
        """Whether what comes from this address is believed."""
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def seen(self, peer: str, header: Header) -> Seen:
        """What is known of a request that came from `peer`."""
        if not self.trusts(peer):
            return Seen(peer)
        return self._forwarded(peer, header) if self._style == "forwarded" else self._x_forwarded(peer, header)

    def _x_forwarded(self, peer: str, header: Header) -> Seen:
        hops = [_bare(part) for part in header(b"x-forwarded-for").split(",")[-HOPS_MAX:] if part.strip()]
        address, steps = self._walk(peer, hops)
        return Seen(
            address,
            _scheme(_picked(header(b"x-forwarded-proto"), steps)),
            _host(_picked(header(b"x-forwarded-host"), steps)),
            _prefix(_picked(header(b"x-forwarded-prefix"), 1)),
        )

    def _forwarded(self, peer: str, header: Header) -> Seen:
        elements = [_element(part) for part in _split(header(b"forwarded"))[-HOPS_MAX:]]
        address, steps = self._walk(peer, [_bare(element.get("for", "")) for element in elements])
        said = elements[-steps] if elements else {}
        prefix = _prefix(_picked(header(b"x-forwarded-prefix"), 1))
        return Seen(address, _scheme(said.get("proto", "")), _host(said.get("host", "")), prefix)

    def _walk(self, peer: str, hops: Sequence[str]) -> tuple[str, int]:
        """The first from the right that is not trusted, or the last that is named, and how many steps away it is."""
        address, steps = peer, 1
        for count, hop in enumerate(reversed(hops), 1):
            if not self.trusts(address) or _parsed(hop) is None:
                break
            address, steps = hop, count
        return address, steps


def _network(text: str, setting: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise Misconfigured(
            f"{setting}: expected an address such as 10.0.0.7, or a network such as 10.0.0.0/8, got {text!r}"
        ) from None


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _bare(text: str) -> str:
    """An address without quotes, brackets and port."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _picked(values: str, steps: int) -> str:
    """Of a list, what the same proxy said as of the address; of a shorter one, the first."""
    parts = [part.strip() for part in values.split(",")[-HOPS_MAX:]]
    return parts[-min(steps, len(parts))]


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in {"http", "https"} else ""


def _host(text: str) -> str:
    return text if _HOST.fullmatch(text) else ""


def _prefix(text: str) -> str:
    """A prefix that is a path; `//elsewhere` would lead a browser to another site."""
    text = text.rstrip("/")
    return text if _PREFIX.fullmatch(text) else ""


def _split(header: str) -> list[str]:
    """The elements of a list, whose quoted texts may hold commas."""
    return [part for part in re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', header) if part.strip()]


def _element(text: str) -> dict[str, str]:
    return {match[1].lower(): match[2].strip('"') for match in map(_PAIR.fullmatch, text.split(";")) if match}
