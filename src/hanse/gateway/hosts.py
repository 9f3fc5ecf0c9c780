"""The names that a gateway answers under.

Who holds a name can point it anywhere, also to an address that only its visitors reach (DNS rebinding): their browsers
then take us for that page's own server. Only the name in `Host` tells. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hanse.gateway.private import host_in, is_address
from hanse.gateway.problem import Misdirected
from hanse.kernel.faults import Misconfigured

OWN = ("localhost",)
"""Names of this machine, for it alone."""

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


class Hosts:
    """The names of one gateway.

    Example:
        >>> hosts = Hosts(["shop.example", "*.partner.example"])
        >>> [hosts.has(name) for name in ("Shop.example:8000", "eu.partner.example", "rebound.example")]
        [True, True, False]
        >>> [hosts.has(name) for name in ("127.0.0.1:8000", "[::1]", "localhost")]
        [True, True, True]
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Answer under some names.

        Args:
            names: Names, and `*.shop.example` for all below one.

        Raises:
            Misconfigured: One of them is no name.
        """
        for name in names:
            if not _NAME.fullmatch(name.lower()):
                raise Misconfigured(
                    f"gateway.hosts: expected a name such as shop.example or *.shop.example, no port, got {name!r}"
                )
        lower = [name.lower() for name in names]
        self._names = frozenset(name for name in lower if not name.startswith("*")).union(OWN)
        self._ends = tuple(name[1:] for name in lower if name.startswith("*"))

    def has(self, header: str) -> bool:
        """Whether a `Host` header is one of ours; addresses are, since nobody can point them elsewhere."""
        host = host_in(header).removesuffix(".")
        return host in self._names or host.endswith((*self._ends, ".localhost")) or is_address(host)

    def check(self, header: str) -> None:
        """Refuse a request that is for somebody else.

        Raises:
            Misdirected: It names none of ours.
        """
        if not self.has(header):
            raise Misdirected(header[:100])
