"""Keys and channels: what of Hanse's is where on a Redis.

- `hanse.<db>.<app>.rpc.<service>` is the list that requests to a service wait in, and the channel that its instances
  are subscribed to: nothing is told there, but the server knows who is there, and forgets whose connection has ended.
- `hanse.<db>.<app>.node.<node>` is the channel on which a node is told answers, and how what it asked fares; and the
  list in which it tells itself to look up from waiting.
- `hanse.<db>.<app>.events` is the stream of events, and the channel on which nodes are told that there are more, or,
  behind a `=`, the name of a group whose turn has ended.
- `hanse.<db>.<app>.events.ids.<n>` has the ids of events that were kept in some ten minutes, `.events.turn.<group>` the
  token of whoever takes the events of a group, and `.events.trimmed` is there where old ones were let go just now.

Channels know no databases, so the number of the database stands in the name.
"""

from __future__ import annotations

from typing import final
from urllib.parse import quote

from hanse.kernel.faults import UnknownOperation
from hanse.transport.base import service_of

NAME_BYTES_MAX = 1_024
"""Longer names of services are nobody's."""

KNOWN_MAX = 10_000
"""Services whose keys are kept; names that anybody may make up must not fill the memory."""


@final
class Names:
    """The keys and channels of one node.

    Attributes:
        app: Name of the app, as it stands in them.
        node: Name of the process, another one after each start.
        everybody: Matches the channels of all nodes of the app.
        here: Begins every subject on which the node is told something.
        channel: On which it is told, and the list in which it wakes itself.
        events: The stream of events, and their channel.
        ids: Begins the names of the sets of their ids.
        trimmed: Says that some were let go.

    Example:
        >>> names = Names("shop", "n1", 0)
        >>> names.service("rows/orders"), names.inbox(b"n2"), names.asker(b"hanse.0.shop.node.n2.7")
        (b'hanse.0.shop.rpc.rows/orders', b'hanse.0.shop.node.n2.', (b'n2', b'7'))
    """

    def __init__(self, app: str, node: str, database: int) -> None:
        """Name what belongs to a node.

        Args:
            app: Name of the app: nodes of others hear nothing of it.
            node: Name of the process.
            database: Number of the database on the server.
        """
        self.app: str = quote(app, safe="").replace(".", "%2E")
        self.node: bytes = quote(node, safe="").replace(".", "%2E").encode()
        self._services = f"hanse.{database}.{self.app}.rpc."
        self._nodes = f"hanse.{database}.{self.app}.node.".encode()
        self.everybody: bytes = self.inbox(b"*")[:-1]
        self.here: bytes = self.inbox(self.node)
        self.channel: bytes = self.here[:-1]
        self.events: bytes = f"hanse.{database}.{self.app}.events".encode()
        self.ids: bytes = self.events + b".ids."
        self.trimmed: bytes = self.events + b".trimmed"
        self._known: dict[str, bytes] = {}

    def call(self, address: str) -> bytes:
        """Where an address is called. Raises `UnknownOperation`."""
        return self.service(service_of(address))

    def service(self, service: str) -> bytes:
        """Where requests to a service wait.

        Raises:
            UnknownOperation: Its name is too long to be anybody's.
        """
        key = self._known.get(service)
        if key is None:
            key = (self._services + quote(service, safe="/")).encode()
            if len(key) > NAME_BYTES_MAX:
                raise UnknownOperation(f"nobody serves a service whose name has {len(service)} characters")
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[service] = key
        return key

    def turn(self, group: str) -> bytes:
        """What says whose turn it is to take the events of a group."""
        return self.events + b".turn." + group.encode()

    def inbox(self, node: bytes) -> bytes:
        """Begins every subject on which a node is told something; a token follows."""
        return self._nodes + node + b"."

    def asker(self, reply: bytes) -> tuple[bytes, bytes]:
        """Which node awaits an answer at a subject, and its token; two empty ones if it is none of ours."""
        if not reply.startswith(self._nodes):
            return b"", b""
        node, _, token = reply[len(self._nodes) :].partition(b".")
        return node, token
