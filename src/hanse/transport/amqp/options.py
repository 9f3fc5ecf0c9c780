"""How a node takes part in what goes through a RabbitMQ."""

from __future__ import annotations

import ssl
from urllib.parse import unquote

import msgspec

from hanse.transport.brokered.servers import Scheme, check_no_options

SCHEME = Scheme(5672, {"amqp": False, "amqps": True}, "amqp://127.0.0.1:5672", lone_user=True)
"""URLs of servers."""

SECURE_PORT = 5671
"""Where servers listen under TLS of which none is named."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a node takes part.

    Attributes:
        app: Name of the app; nodes of others hear nothing of it.
        name: What servers call the connections in their lists.
        user, password: Who asks; what stands in a URL wins. By default RabbitMQ's `guest`, who may come from the
            server's own machine only.
        tls: How servers are verified, and what the node shows of itself; by default as the system trusts, and only
            where the URL asks for TLS (`amqps://`).
        patience: Seconds for which a server is looked for at the start.
        silence: Seconds after which a node that says nothing is taken for dead by those who wait for it, and a request
            that nobody has taken is not done any more.
    """

    app: str = "app"
    name: str = "hanse"
    user: str = "guest"
    password: str = "guest"  # noqa: S105 - as every RabbitMQ has it at first
    tls: ssl.SSLContext | None = None
    patience: float = 5.0
    silence: float = 3.0


def scheme_of(url: str) -> Scheme:
    """How a URL of servers looks: what is under TLS listens elsewhere."""
    return msgspec.structs.replace(SCHEME, port=SECURE_PORT) if url.startswith("amqps:") else SCHEME


def world_in(url: str) -> str:
    """The virtual host that a URL names behind its servers.

    Raises:
        Misconfigured: There are options behind it.

    Example:
        >>> world_in("amqp://a,b/shop"), world_in("amqp://a"), world_in("amqp://a/"), world_in("amqp://a/%2Fx")
        ('shop', '/', '/', '/x')
    """
    check_no_options(url)
    path = url.partition("://")[2].partition("/")[2].partition("?")[0]
    return unquote(path) or "/"
