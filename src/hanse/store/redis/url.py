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
SENTINEL_PORT_USUAL = 26379

_EXAMPLE = "redis://user:password@host:6379/0?prefix=orders"


class RedisUrl(msgspec.Struct, frozen=True):
    """What a URL says.

    Attributes:
        servers: Hosts with their ports; the one of them that takes writes is used, or each is a Sentinel.
        tls: Whether they are spoken to under TLS.
        user, password: Who asks; empty for nobody.
        database: Its number.
        prefix: What all keys have in their hash tag.
        synchronous: `full` waits until a commit is on the disk, `off` accepts a server that keeps nothing there.
        replicas: Of the server, which have to have a commit before it returns.
        sentinel: The name under which Sentinels watch the server; empty where there are none.
        sentinel_password: Of the Sentinels.
        ssl_ca_certs: A file of the authorities that are trusted; empty for those of the system.
        ssl_certfile, ssl_keyfile: What this process shows of itself under TLS.
    """

    servers: tuple[tuple[str, int], ...]
    tls: bool = False
    user: str = ""
    password: str = ""
    database: int = 0
    prefix: str = PREFIX_USUAL
    synchronous: Literal["off", "normal", "full"] = "normal"
    replicas: int = 0
    sentinel: str = ""
    sentinel_password: str = ""
    ssl_ca_certs: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""

    @property
    def place(self) -> str:
        """Servers, database and prefix, to be shown: no user, no password.

        Example:
            >>> parse_url("redis://ada:secret@db/3?prefix=orders").place
            'redis://db:6379/3 prefix orders'
        """
        scheme = "rediss" if self.tls else "redis"
        servers = ",".join(shown(*server) for server in self.servers)
        watched = f" sentinel {self.sentinel}" if self.sentinel else ""
        return f"{scheme}://{servers}/{self.database}{watched} prefix {self.prefix}"


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
    options = _options(query)
    port = SENTINEL_PORT_USUAL if options.get("sentinel") else PORT_USUAL
    servers = tuple(_server(one, port) for one in places.split(","))
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
        return _sound(msgspec.convert({**fixed, **options}, RedisUrl))
    except msgspec.ValidationError as error:
        raise Misconfigured(f"expected options as in {_EXAMPLE}: {error}") from None


def _server(place: str, usual: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise Misconfigured(f"expected a host and a port as in {_EXAMPLE}, got {place!r}")
    return host, usual if port is None else port


_OPTIONS = RedisUrl.__struct_fields__[5:]


def _options(query: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise Misconfigured(f"expected {', '.join(_OPTIONS)} as options of a store, got {name!r}")
        found[name] = int(value) if name == "replicas" and value.isdecimal() else value
    return found


def _sound(found: RedisUrl) -> RedisUrl:
    prefix = found.prefix
    if not prefix or len(prefix) > PREFIX_CHARACTERS_MAX or set("{}") & set(prefix) or not prefix.isprintable():
        raise Misconfigured(
            f"expected a prefix of 1 to {PREFIX_CHARACTERS_MAX} printable characters without braces, got {prefix!r}"
        )
    if not found.tls and (found.ssl_ca_certs or found.ssl_certfile or found.ssl_keyfile):
        raise Misconfigured("expected a URL that begins with rediss:// beside certificates, as they are for TLS")
    if found.ssl_keyfile and not found.ssl_certfile:
        raise Misconfigured("expected ssl_certfile beside ssl_keyfile in the URL of a store")
    if found.sentinel_password and not found.sentinel:
        raise Misconfigured("expected sentinel= and a name beside sentinel_password in the URL of a store")
    if found.replicas > REPLICAS_MAX:
        raise Misconfigured(f"expected 0 to {REPLICAS_MAX} as the option replicas, got {found.replicas}")
    return found
