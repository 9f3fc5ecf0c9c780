"""A request as it came in: who asks, in which story, and what servers are told of that."""

from __future__ import annotations

from typing import final

from hanse.control.carried import carried
from hanse.control.edge_choice import Asking, Header
from hanse.control.edge_table import Server
from hanse.deploy.edge.builtin.destination import Destination
from hanse.deploy.edge.builtin.edge import Edge
from hanse.deploy.edge.builtin.heads import Line, Told, baggage_of, cookies_of, request_head, without_prefix
from hanse.deploy.edge.builtin.http1 import RequestHead
from hanse.kernel.traceparent import new_trace, parse_traceparent


@final
class Incoming:
    """See the module.

    Attributes:
        head: As it came.
        line: What it asks for.
        asking: What shares of releases go by.
        address: Of the client.
        trace_id, request_id: Of the story, and of this request.
    """

    def __init__(self, edge: Edge, peer: str, head: RequestHead, line: Line) -> None:
        """Look at a request once.

        Args:
            edge: Whose table says who is believed.
            peer: Address at the other end of its connection.
            head: As it came.
            line: The same, understood.
        """
        self.head: RequestHead = head
        self.line: Line = line
        self._peer, self._scheme = peer, edge.scheme
        seen = edge.seen(peer, head)
        self._trusted, self._may_force = seen.trusted, seen.may_force
        trace = parse_traceparent(head.get(b"traceparent").decode("latin-1"))
        self._traceparent = str(trace) if trace else new_trace(edge.host)
        self.trace_id: str = self._traceparent[3:35]
        self.request_id: str = edge.request_id(head, self.trace_id)
        self.address: str = seen.address
        # Strangers choose no release.
        inside = seen.may_force or edge.choices.table.egress is not None
        self._tree = carried(",".join(baggage_of(head))) if inside else ""
        cookies = cookies_of(head.get(b"cookie"))
        self.asking: Asking = Asking(_header_of(head), cookies, seen.address, seen.may_force, self._tree)

    def head_for(self, server: Server, at: Destination, *, shadow: bool = False) -> bytes:
        """The head that a server gets.

        Args:
            server: Whose.
            at: Where the request goes.
            shadow: Whether this is a copy, of which nothing may last.
        """
        stripped = at.route.path if at.route.strip_prefix else ""
        told = Told(
            host=self.line.host or f"{server.host}:{server.port}",
            peer=self._peer,
            scheme=self._scheme,
            traceparent=self._traceparent,
            request_id=self.request_id,
            trusted=self._trusted,
            may_force=self._may_force,
            forced_by=at.target.forced_by,
            prefix=stripped.rstrip("/"),
            shadow=shadow,
            release=self._tree or at.told_release,
            outside=at.is_outside,
        )
        asked = without_prefix(self.line.target, stripped) if stripped else self.line.target
        return request_head(self.head, asked, told, upgrade=self.head.upgrade)


def _header_of(head: RequestHead) -> Header:
    def header(name: str) -> str:
        return head.get(name.encode()).decode("latin-1")

    return header
