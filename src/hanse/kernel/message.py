"""The one envelope: calls, replies, stream items, events and announcements are all a `Message`.

No transport looks into a body. Whatever belongs to the request tree (trace, identity, tags) is in the immutable
`Headers`, which one message hands on to the next by reference; what changes at every hop (the time left) stands in
the message itself. Unknown headers of a newer or foreign producer are carried on in `extra`.
None of these can be part of a cycle, so the garbage collector need not know them.
"""

from __future__ import annotations

import enum
from urllib.parse import quote

import msgspec


class Kind(enum.IntEnum):
    """What a message is."""

    CALL = 1
    """Wants one reply."""
    SEND = 2
    """Wants none."""
    STREAM = 3
    """Wants items and an end."""
    REPLY = 4
    FAULT = 5
    ITEM = 6
    END = 7
    EVENT = 8
    """Something happened; handled at least once, in effect once. The reply acknowledges it."""


CALL, SEND, STREAM, REPLY, FAULT, ITEM, END, EVENT = Kind
# For what is done with each message: to ask the enumeration costs more than the comparison (CPython 3.11).


BACKGROUND = 1
"""The priority of work that nobody waits for; a server that comes near its limit refuses it first."""

SHADOW = b"x-hanse-shadow"
"""The HTTP header that an edge marks copies of requests with; see `Headers.shadow`. Only who is trusted may send it."""

RELEASE_WISH = b"x-hanse-release"
"""The HTTP header by which a tester chooses the release of a request tree; of others it is not heeded."""


class Identity(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Who is asking: verified at the edge, carried from service to service.

    Attributes:
        subject: Stable name of the person or service; empty for an anonymous one.
        tenant: The organisation that it belongs to, if any.
        scopes: What it may do, such as `orders:write`.
        on_behalf_of: The subject that it acts for, if not for itself.
    """

    subject: str = ""
    tenant: str = ""
    scopes: frozenset[str] = frozenset()
    on_behalf_of: str = ""

    @property
    def anonymous(self) -> bool:
        """Whether nobody has said who is asking."""
        return not self.subject

    @property
    def caller(self) -> str:
        """Whose the request is, as one text: two with the same are the same caller. Empty where nobody has said.

        Example:
            >>> Identity("ada", "acme").caller, Identity("ada").caller
            ('acme/ada', '/ada')
        """
        return f"{quote(self.tenant, safe='')}/{quote(self.subject, safe='')}" if self.subject else ""


ANONYMOUS = Identity()


class Headers(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a request tree carries from hop to hop.

    Attributes:
        traceparent, tracestate: W3C trace context (https://www.w3.org/TR/trace-context/).
        tags: Business tags such as `{"booking_ref": "ABC123"}`; they stand on every span, log line and event.
        identity: Who is asking.
        type, version: Name and version of the event's or body's schema.
        producer: `service/release/instance` of the sender.
        attempt: 1 for the first delivery; counts up on each retry.
        idempotency_key: A repeat with the same key gets the first answer.
        causation_id, correlation_id: The message that led to this one; the first of the whole story.
        key: Messages of one key are handled in order.
        expires: Wall-clock second after which nobody wants this any more; 0 for never. It is
            carried on, and nobody acts on it yet.
        release: The release that a route has chosen for this story: see `hanse.mesh.routes`.
        priority: 0 where somebody waits for it; above, it is shed first: see `BACKGROUND`.
        shadow: Whether this belongs to a copy of a request, whose answer nobody gets: of what it writes nothing lasts.
        extra: Headers that this version does not know.
    """

    traceparent: str = ""
    tracestate: str = ""
    tags: dict[str, str] = {}
    identity: Identity = ANONYMOUS
    type: str = ""
    version: str = ""
    producer: str = ""
    attempt: int = 1
    idempotency_key: str = ""
    causation_id: str = ""
    correlation_id: str = ""
    key: str = ""
    expires: float = 0.0
    release: str = ""
    priority: int = 0
    shadow: bool = False
    extra: dict[str, str] = {}


NO_HEADERS = Headers()


class Message(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One thing said by one node to another.

    Attributes:
        kind: What it is.
        id: Unique; stays the same through every retry, relay and replay.
        address: `service.operation`, or the topic of an event.
        timeout: Seconds that the sender will still wait; 0 for no limit.
        headers: What the request tree carries.
        body: The encoded content (MessagePack); its shape is the contract's business.
    """

    kind: Kind
    id: str
    address: str
    timeout: float = 0.0
    headers: Headers = NO_HEADERS
    body: bytes = b""

    def with_headers(self, headers: Headers) -> Message:
        """The same message under other headers."""
        return Message(self.kind, self.id, self.address, self.timeout, headers, self.body)
