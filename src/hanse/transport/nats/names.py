"""Subjects: what of Hanse's goes where on NATS.

- `hanse.<app>.rpc.<service>.<operation>`: calls and events; the instances of a service are one queue group.
- `hanse.<app>.rpc.<service>.<release>.<operation>`: calls that want one release; its instances are one queue group.
- `hanse.<app>.json.<service>.<operation>`: the same, for others who speak JSON.
- `hanse.<app>.node.<node>.<token>`: what one node is told: answers to what it asked, under `r` several of them at
  once, and, under `c`, how those fare with whom it has something under way.
- `hanse.<app>.ev.<topic>` and `hanse.<app>.group.<group>`: events that are kept, and how far each group has come; see
  `hanse.transport.nats.streams`. Who uses them needs `$JS.API.>` as well.
- `hanse.<app>.who`: asks who is there; the name of the node that asks is the message.
- `hanse.<app>.hello`: a node, a space, and a service that it serves from now on; for nodes that drain.

So an account's permissions can say who may serve, who may call and who may listen to answers.
"""

from __future__ import annotations

from typing import final
from urllib.parse import quote

from hanse.kernel.faults import UnknownOperation
from hanse.transport.base import RELEASE

GROUP = b"hanse"
"""The queue group of all that serve one thing: each request is given to one of them."""

SUBJECT_BYTES_MAX = 1_024
"""Longer names would make lines that servers close the connection for."""

KNOWN_MAX = 10_000
"""Addresses whose subjects are kept; names that anybody may make up must not fill the memory."""


def token_of(name: str) -> str:
    """A name as one token of a subject: dots, wildcards and spaces are percent-encoded.

    Example:
        >>> token_of("rows/orders"), token_of("a.b"), token_of("*")
        ('rows/orders', 'a%2Eb', '%2A')
    """
    return quote(name, safe="/").replace(".", "%2E") or "%"


@final
class Names:
    """The subjects of one node.

    Example:
        >>> names = Names("shop", "n1")
        >>> names.call("rows/orders.get"), names.service("orders"), names.inbox(b"n2")
        (b'hanse.shop.rpc.rows/orders.get', b'hanse.shop.rpc.orders.*', b'hanse.shop.node.n2.')
        >>> names.call("orders@1.5.place")
        b'hanse.shop.rpc.orders.1%2E5.place'
    """

    def __init__(self, app: str, node: str) -> None:
        """Name what belongs to a node.

        Args:
            app: Name of the app: nodes of others hear nothing of it.
            node: Name of the process, another one after each start.
        """
        self.app: str = token_of(app)
        self.node: bytes = token_of(node).encode()
        self._nodes = f"hanse.{self.app}.node.".encode()
        self.here: bytes = self.inbox(self.node)
        self.who: bytes = f"hanse.{self.app}.who".encode()
        self.hello: bytes = f"hanse.{self.app}.hello".encode()
        self._calls: dict[str, bytes] = {}

    def call(self, address: str) -> bytes:
        """Where an address is called.

        Raises:
            UnknownOperation: It is too long to be anybody's.
        """
        subject = self._calls.get(address)
        if subject is None:
            service, _, operation = address.rpartition(".")
            subject = f"hanse.{self.app}.rpc.{_service(service)}.{token_of(operation)}".encode()
            if len(subject) > SUBJECT_BYTES_MAX:
                raise UnknownOperation(f"nobody serves an address of {len(address)} characters")
            if len(self._calls) >= KNOWN_MAX:
                self._calls.clear()
            self._calls[address] = subject
        return subject

    def service(self, service: str) -> bytes:
        """Where all that a service serves is called."""
        return f"hanse.{self.app}.rpc.{_service(service)}.*".encode()

    def json(self, service: str, operation: str) -> bytes:
        """Where others call an operation with JSON."""
        return f"hanse.{self.app}.json.{token_of(service)}.{token_of(operation)}".encode()

    def inbox(self, node: bytes) -> bytes:
        """Begins every subject on which a node is told something; a token follows."""
        return self._nodes + node + b"."

    def asker(self, reply: bytes) -> tuple[bytes, bytes]:
        """Which node awaits an answer at a subject, and its token; two empty ones if it is none of ours."""
        if not reply.startswith(self._nodes):
            return b"", b""
        node, _, token = reply[len(self._nodes) :].partition(b".")
        return node, token


def _service(service: str) -> str:
    """A service as one token, or as two where a release of it is meant."""
    name, mark, release = service.partition(RELEASE)
    return f"{token_of(name)}.{token_of(release)}" if mark else token_of(name)
