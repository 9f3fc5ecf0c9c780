"""The URL of a SQLite store, as everybody else writes it: three slashes and a path, four for an absolute one."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from hanse.kernel.faults import Misconfigured

Synchronous = Literal["normal", "full"]


class SqliteUrl(msgspec.Struct, frozen=True):
    """What a URL says: the path of the file, and how safe each commit is from a power cut."""

    path: str
    synchronous: Synchronous = "normal"


def parse_url(url: str) -> SqliteUrl:
    """The path and options in a URL.

    Raises:
        Misconfigured: It is not of the form `sqlite:///path.db`, or has an unknown option.

    Example:
        >>> parse_url("sqlite:///data/orders.db").path, parse_url("sqlite:////var/lib/orders.db").path
        ('data/orders.db', '/var/lib/orders.db')
        >>> parse_url("sqlite:///orders.db?synchronous=full").synchronous
        'full'
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path or not url.startswith("sqlite:///"):
        raise Misconfigured(
            "expected a store such as sqlite:///orders.db (relative) or sqlite:////var/lib/orders.db (absolute), "
            f"got {url!r}"
        )
    synchronous: Synchronous = "normal"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "synchronous" or value not in {"normal", "full"}:
            problem = f"expected synchronous=normal or synchronous=full as the option of {url!r}, got {name}={value}"
            raise Misconfigured(problem)
        synchronous = "full" if value == "full" else "normal"
    return SqliteUrl(path, synchronous)
