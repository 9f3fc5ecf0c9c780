"""Queues: what of Hanse's is where on a RabbitMQ. A virtual host is a world of its own.

- `hanse.<app>.rpc.<service>` is the queue that requests to a service wait in, which is there as long as an instance is.
- `hanse.<app>.node.<node>` is the queue of what a node is told: answers, and how what it asked fares.
- `hanse.<app>.node.all` is the exchange through which all nodes of the app are told something.
- `hanse.<app>.events` is the stream of events that are kept.
- `hanse.<app>.group.<group>` is the queue that says how far a group of subscribers has come with them.
- `hanse.<app>.reached.<group>` is where others read that, who do not have the group's turn.

So a user's permissions, which are patterns of such names, can say who may serve and who may call.
"""

from __future__ import annotations

import hashlib
from typing import final
from urllib.parse import quote

from hanse.kernel.faults import UnknownOperation
from hanse.transport.amqp.frames import SHORT_BYTES_MAX
from hanse.transport.base import service_of

KNOWN_MAX = 10_000
"""Services whose queues are kept; names that anybody may make up must not fill the memory."""

DIGEST_BYTES = 64
"""Of a name in its stead, where that is too long."""


def token_of(name: str) -> str:
    """A name as a part of a queue's.

    Example:
        >>> token_of("rows/orders"), token_of("a.b ~"), token_of("größe")
        ('rows/orders', 'a+2Eb+20+7E', 'gr+C3+B6+C3+9Fe')
    """
    return quote(name, safe="/").replace(".", "%2E").replace("~", "%7E").replace("%", "+")


@final
class Names:
    """The queues of one node.

    Attributes:
        app: Name of the app, as it stands in them.
        node: Name of the process, another one after each start.
        here: Begins every subject on which the node is told something.
        inbox_queue: Name of the queue of what it is told.
        everybody: Name of the exchange through which all nodes are told something.
        events: Name of the stream of events.

    Example:
        >>> names = Names("shop", "n1")
        >>> names.service("rows/orders"), names.inbox(b"n2"), names.asker(b"hanse.shop.node.n2.7")
        (b'hanse.shop.rpc.rows/orders', b'hanse.shop.node.n2.', (b'n2', b'7'))
        >>> names.group("mail"), len(names.group("x" * 500))
        ('hanse.shop.group.mail', 81)
    """

    def __init__(self, app: str, node: str) -> None:
        """Name what belongs to a node.

        Args:
            app: Name of the app: nodes of others hear nothing of it.
            node: Name of the process.
        """
        self.app: str = _short(token_of(app))
        self.node: bytes = token_of(node).encode()
        self._services = f"hanse.{self.app}.rpc."
        self._nodes = f"hanse.{self.app}.node.".encode()
        self.here: bytes = self.inbox(self.node)
        self.inbox_queue: bytes = self.here[:-1]
        self.everybody: str = f"hanse.{self.app}.node.all"
        self.events: str = f"hanse.{self.app}.events"
        self._known: dict[str, bytes] = {}

    def call(self, address: str) -> bytes:
        """Where an address is called. Raises `UnknownOperation`."""
        return self.service(service_of(address))

    def service(self, service: str) -> bytes:
        """The queue of requests to a service.

        Raises:
            UnknownOperation: Its name is too long to be anybody's.
        """
        key = self._known.get(service)
        if key is None:
            key = (self._services + token_of(service)).encode()
            if len(key) > SHORT_BYTES_MAX:
                raise UnknownOperation(f"nobody serves a service whose name has {len(service)} characters")
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[service] = key
        return key

    def group(self, group: str) -> str:
        """The queue that says how far a group has come."""
        return f"hanse.{self.app}.group.{_short(token_of(group))}"

    def reached(self, group: str) -> str:
        """The queue in which others read how far a group has come."""
        return f"hanse.{self.app}.reached.{_short(token_of(group))}"

    def inbox(self, node: bytes) -> bytes:
        """Begins every subject on which a node is told something; a token follows."""
        return self._nodes + node + b"."

    def asker(self, reply: bytes) -> tuple[bytes, bytes]:
        """Which node awaits an answer at a subject, and its token; two empty ones if it is none of ours."""
        if not reply.startswith(self._nodes):
            return b"", b""
        node, _, token = reply[len(self._nodes) :].partition(b".")
        return node, token


def _short(token: str) -> str:
    """It, or its digest where a queue's name has no room for it."""
    return token if len(token) <= DIGEST_BYTES else hashlib.sha256(token.encode()).hexdigest()
