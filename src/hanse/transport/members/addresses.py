"""Addresses of datagrams: as text in records and URLs, as pairs at sockets."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

PORT_MAX = 65535

_EVERYBODY = "255.255.255.255"


def address_of(host: str, port: int) -> str:
    """A host and a port as one text.

    Example:
        >>> address_of("10.0.0.7", 7420), address_of("::1", 7420)
        ('10.0.0.7:7420', '[::1]:7420')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parts_of(address: str, port: int | None = None) -> tuple[str, int] | None:
    """The host and the port in a text; None where there are none.

    Args:
        address: `host:port`, or `host` alone where a port is given.
        port: That of an address which names none.

    Example:
        >>> parts_of("[::1]:7420"), parts_of("shop.internal", 7420), parts_of("shop.internal")
        (('::1', 7420), ('shop.internal', 7420), None)
    """
    host, colon, number = address.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = address, str(port or "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not host or not number.isdecimal() or not number.isascii() or not 0 < int(number[:6]) <= PORT_MAX:
        return None
    return host, int(number)


@lru_cache(maxsize=8192)
def one_of(address: str) -> tuple[str, int] | None:
    """Where a datagram for one member goes: the numbers of its host, and its port.

    None where the address is no such thing, whoever told of it: names are not looked up, and groups not sprayed.

    Example:
        >>> one_of("10.0.0.7:7420"), one_of("shop.internal:7420"), one_of("239.1.1.1:7420")
        (('10.0.0.7', 7420), None, None)
    """
    parts = parts_of(address)
    try:
        ip = ip_address(parts[0]) if parts else None
    except ValueError:
        return None
    if ip is None or ip.is_multicast or ip.is_unspecified or str(ip) == _EVERYBODY:
        return None
    return parts
