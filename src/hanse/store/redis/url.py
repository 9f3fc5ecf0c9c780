"""The URL of a store on Redis, as everybody else writes it, and what Hanse adds to it as options."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from hanse.kernel.faults import Misconfigured

SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
"""What such a URL begins with, and whether that means TLS."""

PREFIX_USUAL = "hanse"
"""What keys begin with where a URL does not say it."""

PREFIX_CHARACTERS_MAX = 200
SERVERS_MAX = 10
REPLICAS_MAX = 10
PORT_USUAL = 6379

_EXAMPLE = "redis://user:password@host:6379/0?prefix=orders"


class RedisUrl(msgspec.Struct, frozen=True):
    """What a URL says.

    Attributes:
        servers: Hosts with their ports; the one of them that takes writes is used.
        tls: Whether they are spoken to under TLS.
        user, password: Who asks; empty for nobody.
        database: Its number.
        prefix: What all keys have in their hash tag.
        synchronous: `full` waits until a commit is on the disk, `off` accepts a server that keeps nothing there.
        replicas: Of the server, which have to have a commit before it returns.
    """

    servers: tuple[tuple[str, int], ...]
    tls: bool = False
    user: str = ""
    password: str = ""
    database: int = 0
    prefix: str = PREFIX_USUAL
    synchronous: Literal["off", "normal", "full"] = "normal"
    replicas: int = 0

    @property
    def place(self) -> str:
        """Servers, database and prefix, to be shown: no user, no password.

        Example:
            >>> parse_url("redis://ada:secret@db/3?prefix=orders").place
            'redis://db:6379/3 prefix orders'
        """
        scheme = "rediss" if self.tls else "redis"
        servers = ",".join(shown(*server) for server in self.servers)
        return f"{scheme}://{servers}/{self.database} prefix {self.prefix}"


def shown(host: str, port: int) -> str:
    """A server, as it is written in URLs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_url(url: str) -> RedisUrl:
    """What a URL says.

    Raises:
        Misconfigured: It is no URL of Redis, or an option is unknown or has a value that it cannot have.

    Example:
        >>> parse_url("redis://a,b:6380/1?prefix=orders").servers
        (('a', 6379), ('b', 6380))
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator:
        raise Misconfigured(f"expected a store such as {_EXAMPLE}, got a URL that does not begin so")
    rest, _, query = rest.partition("?")
    places, _, path = rest.partition("/")
    login, _, places = places.rpartition("@")
    user, _, password = login.partition(":")
    servers = tuple(_server(one) for one in places.split(","))
    if len(servers) > SERVERS_MAX:
        raise Misconfigured(f"expected at most {SERVERS_MAX} servers in the URL of a store, got {len(servers)}")
    if path.strip("/") and not path.strip("/").isdecimal():
        raise Misconfigured(f"expected the number of a database behind the servers as in {_EXAMPLE}, got {path!r}")
    fixed = {
        "servers": servers,
        "tls": SCHEMES[scheme],
        "user": unquote(user),
        "password": unquote(password),
        "database": int(path.strip("/") or 0),
    }
    try:
        return _sound(msgspec.convert({**fixed, **_options(query)}, RedisUrl))
    except msgspec.ValidationError as error:
        raise Misconfigured(f"expected options as in {_EXAMPLE}: {error}") from None


def _server(place: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise Misconfigured(f"expected a host and a port as in {_EXAMPLE}, got {place!r}")
    return host, PORT_USUAL if port is None else port


def _options(query: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in ("prefix", "synchronous", "replicas"):
            raise Misconfigured(f"expected prefix, synchronous or replicas as options of a store, got {name!r}")
        found[name] = int(value) if name == "replicas" and value.isdecimal() else value
    return found


def _sound(found: RedisUrl) -> RedisUrl:
    prefix = found.prefix
    if not prefix or len(prefix) > PREFIX_CHARACTERS_MAX or set("{}") & set(prefix) or not prefix.isprintable():
        raise Misconfigured(
            f"expected a prefix of 1 to {PREFIX_CHARACTERS_MAX} printable characters without braces, got {prefix!r}"
        )
    if found.replicas > REPLICAS_MAX:
        raise Misconfigured(f"expected 0 to {REPLICAS_MAX} as the option replicas, got {found.replicas}")
    return found
