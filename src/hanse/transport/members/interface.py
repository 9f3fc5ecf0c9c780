"""Which of this machine's networks a node speaks on."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from hanse.kernel.faults import CouldNotStart

LOOPBACK = "127.0.0.1"
"""Where a node speaks until it is told otherwise: to this machine only."""

_ADDRESS = 0x8915  # SIOCGIFADDR
_BROADCAST = 0x8919  # SIOCGIFBRDADDR
_NAME_BYTES_MAX = 15


class Interface(msgspec.Struct, frozen=True):
    """A network of this machine.

    Attributes:
        address: This machine's own, there.
        broadcast: At which all hear; empty for none.
    """

    address: str
    broadcast: str = ""

    @property
    def family(self) -> socket.AddressFamily:
        """Whether it speaks IPv4 or IPv6."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def find_interface(wanted: str) -> Interface:
    """The interface that is meant.

    Args:
        wanted: An address of this machine (`10.0.0.7`, `::1`), the name of an interface (`eth0`), or a network
            (`10.0.0.0/8`), which stands for the first interface in it; empty for loopback.

    Raises:
        CouldNotStart: This machine has no such interface.

    Example:
        >>> find_interface("").address, find_interface("127.0.0.0/8").broadcast
        ('127.0.0.1', '127.255.255.255')
    """
    wanted = wanted or LOOPBACK
    named = {name: found for _, name in socket.if_nameindex() if (found := _named(name)) is not None}
    if wanted in named:
        return named[wanted]
    address, network = _as_address(wanted), _as_network(wanted)
    if address is not None:
        known = next((found for found in named.values() if found.address == address), None)
        return known or Interface(address, "127.255.255.255" if address.startswith("127.") else "")
    inside = [found for found in named.values() if network is not None and ip_address(found.address) in network]
    if inside:
        return inside[0]
    there = ", ".join(f"{name} ({found.address})" for name, found in named.items())
    raise CouldNotStart(f"no interface {wanted!r}; expected {there or 'none'}, or an address or a network of one")


def _as_address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _as_network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _named(name: str) -> Interface | None:
    """The interface of a name; None where it has no IPv4 address, or where this system does not tell."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows: an address says as much
        return None
    asked = struct.pack("256s", name.encode()[:_NAME_BYTES_MAX])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            address = socket.inet_ntoa(fcntl.ioctl(probe, _ADDRESS, asked)[20:24])
            broadcast = socket.inet_ntoa(fcntl.ioctl(probe, _BROADCAST, asked)[20:24])
        except OSError:
            return None
    # Loopback has none of its own, and yet all of this machine hear at its last address.
    if address.startswith("127."):
        broadcast = "127.255.255.255"
    return Interface(address, "" if broadcast == "0.0.0.0" else broadcast)  # noqa: S104 - not bound: it says none
