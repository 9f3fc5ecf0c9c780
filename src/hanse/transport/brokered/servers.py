"""Which server to try next, and when: those that were named, and those of whose cluster one of them told."""

from __future__ import annotations

from typing import final
from urllib.parse import unquote, urlsplit

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host

SERVERS_MAX = 100
"""Servers that are known at once; what one tells of beyond that is left out."""

PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 2.0
"""Longest wait after all servers were tried in vain; then they are tried again, for ever."""


class Server(msgspec.Struct, frozen=True):
    """One server.

    Attributes:
        host: Its name or address.
        port: Where it listens.
        tls: Whether it is spoken to under TLS only.
        user, password, token: Who is to be said to ask, where its URL told.
    """

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = ""
    token: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Scheme(msgspec.Struct, frozen=True):
    """How the URLs of a broker's servers look.

    Attributes:
        port: Where servers listen of which none is named.
        secure: For each name that such a URL begins with, whether it is spoken under TLS only.
        example: Such a URL.
        lone_user: Whether what stands alone before an `@` is a user's name; otherwise it is a token.
    """

    port: int
    secure: dict[str, bool]
    example: str
    lone_user: bool = False


def servers_in(url: str, scheme: Scheme) -> list[Server]:
    """The servers that a URL names, with commas between them; what stands before an `@` holds for all.

    Raises:
        Misconfigured: It is no such URL.

    Example:
        >>> scheme = Scheme(4222, {"nats": False}, "nats://127.0.0.1:4222")
        >>> [str(server) for server in servers_in("nats://ada:secret@a,b:4223", scheme)]
        ['a:4222', 'b:4223']
    """
    name, separator, rest = url.partition("://")
    if name not in scheme.secure or not separator:
        raise Misconfigured(f"expected a URL such as {scheme.example}, got {shown(url)!r}")
    # What follows the servers, such as a path, has no meaning here.
    rest = rest.split("/")[0].split("?")[0]
    login, _, places = rest.rpartition("@")
    user, colon, password = login.partition(":")
    token = "" if colon or scheme.lone_user else unquote(user)
    if token:
        user = ""
    found = [
        Server(host, port, scheme.secure[name], unquote(user), unquote(password), token)
        for host, port in (_place(place, url, scheme.port) for place in places.split(","))
    ]
    return found[:SERVERS_MAX]


def _place(place: str, url: str, usual: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise Misconfigured(f"expected a host and a port, got {place!r} in {shown(url)!r}")
    return host, usual if port is None else port


def check_no_options(url: str) -> None:
    """Refuse a URL that has options, where there are none: whoever wrote them meant something by it.

    Raises:
        Misconfigured: It has.
    """
    place, _, options = url.partition("?")
    if options:
        # Names alone: values may be secrets.
        names = ", ".join(option.partition("=")[0] for option in options.split("&"))
        raise Misconfigured(f"expected no options behind {shown(place)!r}, got {names}")


def shown(url: str) -> str:
    """A URL without its secrets."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


@final
class Servers:
    """Takes turns among servers; those that told of themselves in vain go to the end."""

    def __init__(self, named: list[Server], host: Host) -> None:
        """Know some servers.

        Args:
            named: By the user; they are never forgotten.
            host: Draws the order, so that not all clients of a cluster are at one of its servers.
        """
        self._named = named
        self._chance = host.chance
        self._turns: list[Server] = host.chance.sample(named, len(named))
        self._tried = 0
        self._rounds = 0

    def __len__(self) -> int:
        return len(self._turns)

    def next(self) -> Server:
        """Whose turn it is."""
        server = self._turns.pop(0)
        self._turns.append(server)
        self._tried += 1
        return server

    def pause(self) -> float:
        """Seconds to wait before the next is tried: none until all were, then more and more, never in step."""
        if self._tried < len(self._turns):
            return 0.0
        self._tried = 0
        longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * 2.0 ** min(self._rounds, 10))
        self._rounds += 1
        return longest * (0.5 + self._chance.random() / 2)

    def reached(self) -> None:
        """The last one answered: what was tried in vain does not count any more."""
        self._tried = self._rounds = 0

    def learn(self, places: list[str], like: Server) -> None:
        """A server told which others there are; those that were not named and are not there any more are forgotten.

        Args:
            places: Hosts with their ports.
            like: Who told; the others are spoken to as it is.
        """
        told = [_like(like, place) for place in places]
        there = {(server.host, server.port): server for server in (*self._named, *filter(None, told))}
        kept = [server for server in self._turns if there.pop((server.host, server.port), None)]
        new = list(there.values())
        self._turns = (self._chance.sample(new, len(new)) + kept)[:SERVERS_MAX]


def _like(server: Server, place: str) -> Server | None:
    """Another server of a cluster; None if its place cannot be read."""
    try:
        host, port = _place(place, place, server.port)
    except Misconfigured:
        return None
    return msgspec.structs.replace(server, host=host, port=port)
