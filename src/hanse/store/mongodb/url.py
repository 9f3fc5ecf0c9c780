"""The URL of a MongoDB store, as everybody else writes it, and what Hanse adds to it as options."""

from __future__ import annotations

from urllib.parse import unquote, urlencode, urlunsplit

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.url import split_url
from hanse.store.remote.url import split

SCHEMES = ("mongodb", "mongodb+srv")

DATABASE_USUAL = "hanse"
PREFIX_USUAL = "hanse"
"""Where the collections are when a URL names no database, and how their names begin when it names no prefix."""

PREFIX_BYTES_MAX = 63
"""Bytes in a prefix; MongoDB has 255 for a database and a collection together."""

CONNECTIONS_USUAL = 8
CONNECTIONS_MIN, CONNECTIONS_MAX = 3, 100

_EXAMPLE = "mongodb://user:password@host:27017/database?prefix=orders"
_OPTIONS = frozenset({"prefix", "connections"})
_WEAKER = {"w": "majority", "journal": "true", "j": "true", "readpreference": "primary"}
"""Options that would promise less than a store does, and what they may say."""


class MongodbUrl(msgspec.Struct, frozen=True):
    """What a URL says.

    Attributes:
        server: The URL without our options, for the driver: servers, user, password, TLS.
        database: The database of the collections.
        prefix: How the names of the collections begin.
        connections: Connections to each server at most; one of them is for news.
    """

    server: str
    database: str = DATABASE_USUAL
    prefix: str = PREFIX_USUAL
    connections: int = CONNECTIONS_USUAL

    @property
    def place(self) -> str:
        """Servers, database and prefix, to be shown: no user, no password, no options.

        Example:
            >>> parse_url("mongodb://ada:secret@db/shop?prefix=orders").place
            'mongodb://db/shop prefix orders'
        """
        parts = split_url(self.server)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{self.database} prefix {self.prefix}"

    def collection(self, name: str) -> str:
        """The name of one of the store's collections.

        Example:
            >>> MongodbUrl("mongodb://db", prefix="orders").collection("log")
            'orders.log'
        """
        return f"{self.prefix}.{name}"


def parse_url(url: str) -> MongodbUrl:
    """What a URL says.

    Raises:
        Misconfigured: It is no URL of MongoDB, an option has a value that it cannot have, or one asks for weaker writes
            or reads than a store promises.

    Example:
        >>> parse_url("mongodb://db/shop?prefix=orders&tls=true").server
        'mongodb://db/shop?tls=true'
    """
    parts, options, others = split(url, SCHEMES, _OPTIONS, _EXAMPLE)
    if not parts.netloc:
        raise Misconfigured(f"expected a server as in {_EXAMPLE}, got a URL without one")
    for name, value in others:
        _require_strong(name, value)
    # Without a path, the driver wants none before its options either.
    server = urlunsplit((parts.scheme, parts.netloc, parts.path or ("/" if others else ""), urlencode(others), ""))
    database = unquote(parts.path.lstrip("/")) or DATABASE_USUAL
    try:
        found = msgspec.convert({"server": server, "database": database, **options}, MongodbUrl)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"expected options as in {_EXAMPLE}: {error}") from None
    _require_sound(found)
    return found


def _require_strong(name: str, value: str) -> None:
    wanted = _WEAKER.get(name.lower())
    if wanted is not None and value.lower() != wanted:
        raise Misconfigured(
            f"the URL of a store says {name}={value}, but a commit has to outlive its server and to be seen by who "
            f"reads next: leave it out, or say {name}={wanted}"
        )


def _require_sound(found: MongodbUrl) -> None:
    if not CONNECTIONS_MIN <= found.connections <= CONNECTIONS_MAX:
        raise Misconfigured(
            f"expected {CONNECTIONS_MIN} to {CONNECTIONS_MAX} as the option connections, got {found.connections}"
        )
    prefix = found.prefix
    if not prefix or len(prefix.encode()) > PREFIX_BYTES_MAX or not {"$", "\x00"}.isdisjoint(prefix):
        raise Misconfigured(f"expected a prefix of 1 to {PREFIX_BYTES_MAX} bytes without $, got {prefix!r}")
    if prefix.startswith(("system.", ".")) or prefix == "system" or prefix.endswith("."):
        raise Misconfigured(f"expected a prefix of your own, not system, and no dots at its ends, got {prefix!r}")
