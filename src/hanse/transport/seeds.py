"""`static:` and `dns:`: nodes find one another by addresses that are known beforehand, or by a name that has many.

One thing under two names, as people look for either: hosts are names or numbers, and names are looked up again and
again, so that a machine which comes back with another address is found. A few seeds are enough: whoever is found tells
of all the others, and seeds may go.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import final

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.transport.members.addresses import address_of
from hanse.transport.members.gossip import PORT, Gossip
from hanse.transport.members.interface import Interface
from hanse.transport.members.url import parse_url

LOOKUP_SECONDS = 5.0
"""For one name to be looked up; what was known of it holds until the next time."""

FOUND_MAX = 1024
"""Addresses that are taken of all names together."""

_log = logging.getLogger("hanse.discovery")


@final
class Seeds:
    """Finds others at places; see `Finder`."""

    def __init__(self, places: Sequence[tuple[str, int]], own_port: int = 0) -> None:
        """Take the places.

        Args:
            places: Hosts, by name or number, and their ports.
            own_port: The port of this node; 0 for that of the place which is its own, or else the first free one of
                theirs: so nodes of one machine share out the places, and those of many machines have the same port.
        """
        self._places = tuple(places)
        self._own_port = own_port
        self._known: dict[tuple[str, int], list[str]] = {}
        self._failing: set[tuple[str, int]] = set()

    @property
    def group(self) -> str:
        """See `Finder.group`."""
        return ""

    def ports(self, interface: Interface, /) -> Sequence[int]:
        """See `Finder.ports`."""
        if self._own_port:
            return [self._own_port]
        own = [port for host, port in self._places if host == interface.address]
        return [*dict.fromkeys([*own, *(port for _, port in self._places)]), 0]

    def prepare(self, _own: socket.socket, _interface: Interface, /) -> socket.socket | None:
        """See `Finder.prepare`."""
        return None

    def everybody(self, _interface: Interface, /) -> Sequence[str]:
        """See `Finder.everybody`."""
        return []

    async def find(self, interface: Interface, /) -> Sequence[str]:
        """See `Finder.find`."""
        for place in self._places:
            try:
                async with asyncio.timeout(LOOKUP_SECONDS):
                    self._known[place] = await _look_up(place, interface)
            except (OSError, UnicodeError, TimeoutError) as error:
                self._tell(place, str(error) or f"no answer in {LOOKUP_SECONDS:g} s")
            else:
                self._failing.discard(place)
        found = dict.fromkeys(address for place in self._places for address in self._known.get(place, ()))
        return sorted(found)[:FOUND_MAX]

    def _tell(self, place: tuple[str, int], problem: str) -> None:
        """Say once that a name is not found: there may be nobody yet."""
        if place not in self._failing:
            self._failing.add(place)
            _log.warning("cannot look up %s, and will try again: %s", place[0], problem)


async def _look_up(place: tuple[str, int], interface: Interface) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(*place, family=interface.family, type=socket.SOCK_DGRAM)
    return [address_of(str(to[0]), int(to[1])) for *_, to in found]


def discovery(url: str, host: Host, *, interface: str = "", keys: Sequence[bytes] = ()) -> Gossip:
    """The discovery that a URL of the schemes `static` and `dns` names, not yet open.

    Args:
        url: `static://10.0.0.1:7420,10.0.0.2:7420` or `dns://shop.internal:7420`, with the options
            `?interface=eth0&port=7421`; the port is 7420 where none is named.
        host: Clock and chance.
        interface: That of URLs which name none; loopback, if empty.
        keys: See `Gossip`.

    Raises:
        Misconfigured: The URL cannot be used.

    Example:
        >>> gossip = discovery("static://10.0.0.1,10.0.0.2?interface=10.0.0.0/24", Host.fixed(wall=0.0, seed=1))
        >>> discovery("dns://", Host.fixed(wall=0.0, seed=1))
        Traceback (most recent call last):
        ...
        hanse.kernel.faults.Misconfigured: expected static://host:port,host:port or dns://name:port, got 'dns://'
    """
    expected = "static://host:port,host:port or dns://name:port"
    found = parse_url(url, expected, PORT)
    if not found.places:
        raise Misconfigured(f"expected {expected}, got {url!r}")
    return Gossip(Seeds(found.places, found.port), host, interface=found.interface or interface, keys=keys)
