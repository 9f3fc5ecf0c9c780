"""`udp:`: nodes of a LAN find one another with nobody's help, by datagrams that all hear."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import final

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.transport.members.addresses import address_of
from hanse.transport.members.gossip import PORT, Gossip
from hanse.transport.members.interface import Interface
from hanse.transport.members.url import parse_url

GROUP = "239.255.72.83"
"""The multicast group of Hanse, of those that no router passes on (RFC 2365)."""

HOPS = 1
"""Networks that a datagram to the group crosses: this one."""

OWN_PORTS = range(7421, 7437)
"""Ports that a node takes its own datagrams at: the first free one, so that a firewall can be told of a few; any, where
all of them are taken."""


@final
class Group:
    """Finds others by saying hello to all of a network; see `Finder`."""

    def __init__(self, at: str = GROUP, port: int = PORT, own_port: int = 0) -> None:
        """Take where to say hello.

        Args:
            at: A multicast group, or `broadcast` for the interface's broadcast address, where switches or clouds let
                no multicast through.
            port: The group's port, the same for all.
            own_port: The port of this node alone; 0 for the first free one of `OWN_PORTS`.

        Raises:
            Misconfigured: That is no group.
        """
        self._at = at
        self._port = port
        self._own_port = own_port
        self._is_broadcast = at == "broadcast"
        if not self._is_broadcast and not _is_group(at):
            raise Misconfigured(f"expected an IPv4 multicast group such as {GROUP}, or broadcast, got {at!r}")

    @property
    def group(self) -> str:
        """See `Finder.group`."""
        return address_of(self._at, self._port)

    def ports(self, _interface: Interface, /) -> Sequence[int]:
        """See `Finder.ports`."""
        return [self._own_port] if self._own_port else [*OWN_PORTS, 0]

    def everybody(self, interface: Interface, /) -> Sequence[str]:
        """See `Finder.everybody`."""
        return [address_of(interface.broadcast if self._is_broadcast else self._at, self._port)]

    async def find(self, interface: Interface, /) -> Sequence[str]:
        """See `Finder.find`."""
        return self.everybody(interface)

    def prepare(self, own: socket.socket, interface: Interface, /) -> socket.socket | None:
        """See `Finder.prepare`.

        Raises:
            OSError: The interface has no broadcast address, or lets no multicast through.
        """
        if interface.family != socket.AF_INET:
            raise OSError(0, "IPv6 has no broadcast, and its multicast is not spoken here; name an IPv4 interface")
        if self._is_broadcast and not interface.broadcast:
            raise OSError(0, "it has no broadcast address")
        address = socket.inet_aton(interface.address)
        if self._is_broadcast:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        else:
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        return self._listening(interface, address)

    def _listening(self, interface: Interface, address: bytes) -> socket.socket:
        heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # All nodes of this machine listen here, each with a socket of its own; other systems than Linux want both.
            heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Bound to the group itself: what is sent to the port at other addresses is not heard.
            heard.bind((interface.broadcast if self._is_broadcast else self._at, self._port))
            if not self._is_broadcast:
                heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(self._at) + address)
        except OSError:
            heard.close()
            raise
        return heard


def discovery(url: str, host: Host, *, interface: str = "", keys: Sequence[bytes] = ()) -> Gossip:
    """The discovery that a URL of the scheme `udp` names, not yet open.

    Args:
        url: `udp://` for the group of Hanse, `udp://239.1.2.3:7500` for another, `udp://broadcast` for none; with the
            options `?interface=eth0&port=7421`.
        host: Clock and chance.
        interface: That of URLs which name none; loopback, if empty.
        keys: See `Gossip`.

    Raises:
        Misconfigured: The URL cannot be used.

    Example:
        >>> gossip = discovery("udp://broadcast:7500?interface=eth0", Host.fixed(wall=0.0, seed=1))
        >>> discovery("udp://10.0.0.1", Host.fixed(wall=0.0, seed=1))
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Misconfigured: expected an IPv4 multicast group such as 239.255.72.83, ...
    """
    found = parse_url(url, "udp://, udp://239.1.2.3:7420 or udp://broadcast", PORT)
    if len(found.places) > 1:
        raise Misconfigured(f"expected one group, got {url!r}; several addresses are static://host:port,host:port")
    at, port = found.places[0] if found.places else (GROUP, PORT)
    return Gossip(Group(at, port, found.port), host, interface=found.interface or interface, keys=keys)


def _is_group(text: str) -> bool:
    try:
        ip = ip_address(text)
    except ValueError:
        return False
    return ip.version == 4 and ip.is_multicast  # noqa: PLR2004 - IPv4
