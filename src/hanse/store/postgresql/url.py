"""The URL of a PostgreSQL store, as everybody else writes it, and what Hanse adds to it as options."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlunsplit

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.url import split_url
from hanse.store.remote.url import split

SCHEMES = ("postgresql", "postgres")

SCHEMA_USUAL = "hanse"
"""Where the tables are when a URL names no schema."""

NAME_BYTES_MAX = 63
"""Bytes in the name of a schema, as PostgreSQL has it; it would cut off the rest."""

CONNECTIONS_USUAL = 4
CONNECTIONS_MAX = 100

SERVERS_MAX = 10

_EXAMPLE = "postgresql://user:password@host:5432/database?schema=orders"


class PostgresqlUrl(msgspec.Struct, frozen=True):
    """What a URL says.

    Attributes:
        server: The URL without our options: servers, user, password, database, TLS.
        schema: The schema of the tables.
        connections: Connections for reads at most; two more are for commits and for news.
        synchronous: `off` accepts a server that forgets commits when its machine goes down.
        prepared: `no` where a pooler hands each transaction to another session: nothing is kept in sessions then.
    """

    server: str
    schema: str = SCHEMA_USUAL
    connections: int = CONNECTIONS_USUAL
    synchronous: Literal["on", "off"] = "on"
    prepared: Literal["yes", "no"] = "yes"

    @property
    def servers(self) -> tuple[str, ...]:
        """A URL for the driver of each server that is named; of several, the one that writes is wanted.

        Example:
            >>> parse_url("postgresql://ada@a,b:5433/shop").servers[1]
            'postgresql://ada@b:5433/shop?target_session_attrs=read-write'
        """
        parts = split_url(self.server)
        login, at, named = parts.netloc.rpartition("@")
        servers = named.split(",")
        if len(servers) == 1:
            return (self.server,)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        query = urlencode({"target_session_attrs": "read-write"} | options)
        return tuple(urlunsplit(parts._replace(netloc=f"{login}{at}{server}", query=query)) for server in servers)

    @property
    def place(self) -> str:
        """Server, database and schema, to be shown: no user, no password, no options.

        Example:
            >>> parse_url("postgresql://ada:secret@db/shop?schema=orders").place
            'postgresql://db/shop schema orders'
        """
        parts = split_url(self.server)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path} schema {self.schema}"


def parse_url(url: str) -> PostgresqlUrl:
    """What a URL says.

    Raises:
        Misconfigured: It is no URL of PostgreSQL, or an option has a value that it cannot have.

    Example:
        >>> parse_url("postgresql://db/shop?schema=orders&sslmode=require").server
        'postgresql://db/shop?sslmode=require'
    """
    parts, options, others = split(url, SCHEMES, _OPTIONS, _EXAMPLE)
    server = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(others), ""))
    try:
        found = msgspec.convert({"server": server, **options}, PostgresqlUrl)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"expected options as in {_EXAMPLE}: {error}") from None
    _require_sound(found)
    return found


_OPTIONS = frozenset(PostgresqlUrl.__struct_fields__) - {"server"}


def _require_sound(found: PostgresqlUrl) -> None:
    if not 1 <= found.connections <= CONNECTIONS_MAX:
        raise Misconfigured(f"expected 1 to {CONNECTIONS_MAX} as the option connections, got {found.connections}")
    servers = split_url(found.server).netloc.rpartition("@")[2].split(",")
    if len(servers) > SERVERS_MAX or (len(servers) > 1 and not all(servers)):
        raise Misconfigured(
            f"expected at most {SERVERS_MAX} servers with commas between them, got {','.join(servers)!r}"
        )
    if not found.schema or "\x00" in found.schema or len(found.schema.encode()) > NAME_BYTES_MAX:
        raise Misconfigured(f"expected a schema of 1 to {NAME_BYTES_MAX} bytes, got {found.schema!r}")
    if found.schema.startswith("pg_"):
        raise Misconfigured(f"expected a schema of your own, got {found.schema!r}: PostgreSQL keeps those in pg_")
