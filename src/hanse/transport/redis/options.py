"""How a node takes part in what goes through a Redis."""

from __future__ import annotations

import ssl

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.transport.brokered.servers import Scheme, check_no_options, shown

SCHEME = Scheme(
    6379,
    {"redis": False, "rediss": True, "valkey": False, "valkeys": True},
    "redis://127.0.0.1:6379",
    lone_user=True,
)
"""URLs of servers."""


KEPT_SECONDS = 7 * 86_400.0
"""Older events go, whoever has not handled them; that is told."""

HANDLED_SECONDS = 600.0
"""For which events are kept that all groups have handled, so that a group that is new hears of them too."""

HANDLED_MAX = 100_000
"""Events, above which those that all groups have handled are not kept for that long."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a node takes part.

    Attributes:
        app: Name of the app; nodes of others hear nothing of it.
        name: What servers call the connections in their lists.
        user, password: Who asks; what stands in a URL wins.
        tls: How servers are verified, and what the node shows of itself; by default as the system trusts, and only
            where the URL asks for TLS (`rediss://`).
        patience: Seconds for which a server is looked for at the start.
        silence: Seconds after which a node that says nothing is taken for dead by those who wait for it, and a request
            that nobody has taken is not done any more.
        keeps: Whether events are to be kept: then servers are refused that may not be trusted with them.
        kept: Seconds for which events are kept at most, as memory has an end; that some were not handled by then is
            told.
        handled: Seconds for which events are kept that all groups have handled, so that a group that is new hears of
            them too.
        handled_max: Events, above which those that all groups have handled are not kept for that long.
    """

    app: str = "app"
    name: str = "hanse"
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    patience: float = 5.0
    silence: float = 3.0
    keeps: bool = False
    kept: float = KEPT_SECONDS
    handled: float = HANDLED_SECONDS
    handled_max: int = HANDLED_MAX


def database_in(url: str) -> int:
    """The number of the database that a URL names behind its servers; 0 if none.

    Raises:
        Misconfigured: It is no number, or there are options behind it.

    Example:
        >>> database_in("redis://a,b/3"), database_in("redis://a")
        (3, 0)
    """
    check_no_options(url)
    path = url.partition("://")[2].partition("/")[2].partition("?")[0].strip("/")
    if path and not path.isdecimal():
        raise Misconfigured(f"expected the number of a database behind the servers, got {path!r} in {shown(url)!r}")
    return int(path or 0)
