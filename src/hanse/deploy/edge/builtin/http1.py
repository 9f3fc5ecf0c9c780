"""HTTP/1.1 as events, for both sides of the edge, and what reads them from bytes.

Whoever feeds a parser gets what came since as a list, in order: so nothing is called back in the middle of a parse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

Field = tuple[bytes, bytes, bytes]
"""A header: its name in lower case, as it came, and its value."""

SWITCHING = 101
_WITHOUT_BODY = frozenset({204, 304})
OK = 200


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a request.

    Attributes:
        method: Its method.
        target: As it came, such as `/users?page=2`.
        fields: Its headers.
        version: Of HTTP, such as `1.1`.
        keep_alive: Whether its connection may be used again.
        upgrade: Whether it asks for WebSocket. Nothing else is handed on: h2c would lead past the edge's routes.
    """

    method: str
    target: bytes
    fields: list[Field]
    version: str
    keep_alive: bool
    upgrade: bool

    def get(self, name: bytes) -> bytes:
        """The first value of a header; empty where there is none."""
        return next((value for known, _, value in self.fields if known == name), b"")

    @property
    def length(self) -> int | None:
        """Of the body, in bytes; None for one in chunks."""
        if self.get(b"transfer-encoding"):
            return None
        return int(self.get(b"content-length") or 0)


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """The head of an answer.

    Attributes:
        status: Its status.
        reason: The words behind it.
        fields: Its headers.
        keep_alive: Whether its connection may be used again.
        framing: How its body ends: there is none, after a length, with a last chunk, or with the connection.
    """

    status: int
    reason: bytes
    fields: list[Field]
    keep_alive: bool
    framing: str

    def get(self, name: bytes) -> bytes:
        """The first value of a header; empty where there is none."""
        return next((value for known, _, value in self.fields if known == name), b"")


class Body(msgspec.Struct, frozen=True, gc=False):
    """A piece of a body."""

    data: bytes


class End(msgspec.Struct, frozen=True, gc=False):
    """A message is over; its trailers."""

    trailers: list[Field] = []


class Upgraded(msgspec.Struct, frozen=True, gc=False):
    """What comes from here on is of another protocol; what has come of it."""

    rest: bytes


Event = RequestHead | ResponseHead | Body | End | Upgraded


class Requests(Protocol):
    """The requests that come over one connection.

    Attributes:
        in_message: Whether a part of a message has come.
        in_body: Whether its head has come.
    """

    in_message: bool
    in_body: bool

    def feed(self, data: bytes, /) -> list[Event]:
        """What these bytes bring.

        Raises:
            Malformed: They are no HTTP; what came before is told by `taken`.
        """
        ...

    def taken(self) -> list[Event]:
        """What has been read and not taken yet."""
        ...


class Responses(Requests, Protocol):
    """The answers that come over one connection to a server.

    Attributes:
        to_head: Whether the next one answers HEAD, and so has no body, whatever its headers say.
    """

    to_head: bool

    def eof(self) -> list[Event]:
        """What the end of the connection brings: the end of a body that has no other, or nothing."""
        ...


class Reading(msgspec.Struct, frozen=True):
    """What reads HTTP, on either side.

    Attributes:
        requests: Makes what reads the requests of one connection.
        responses: Makes what reads the answers of one.
    """

    requests: Callable[[], Requests]
    responses: Callable[[], Responses]


def framing_of(status: int, fields: list[Field], *, to_head: bool) -> str:
    """How a body ends.

    Args:
        status: Of the answer.
        fields: Its headers.
        to_head: Whether it answers HEAD.
    """
    if to_head or status < OK or status in _WITHOUT_BODY:
        return "none"
    names = {name for name, _, _ in fields}
    if b"transfer-encoding" in names:
        return "chunked"
    return "length" if b"content-length" in names else "close"
