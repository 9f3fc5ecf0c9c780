"""What our server lends an application: a connection to write to directly, and what becomes of what was written.

ASGI's `send` is asked for each client anew, builds an event, and frames it; for a thousand clients that are told the
same, that is most of the work. A wire takes bytes that are framed already. Servers that lend none are sent to as ASGI
has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from hanse.gateway.asgi import Request, Send

WIRE = "hanse.wire"
"""Name of the ASGI extension by which our server lends wires: a function that gives the one of a `send`, or None."""


class Listener(Protocol):
    """Hears what becomes of a wire."""

    def filled(self) -> None:
        """More was written than the client takes."""

    def emptied(self) -> None:
        """The client has taken it."""

    def parted(self) -> None:
        """The connection is lost."""


class Wire:
    """A connection, to write to directly once an answer has begun.

    Attributes:
        chunked: Whether what is written has to be chunks of an HTTP body.
        listener: Hears what becomes of it.
    """

    __slots__ = ("_transport", "chunked", "listener")

    def __init__(self, transport: asyncio.Transport, *, chunked: bool) -> None:
        """Take a connection.

        Args:
            transport: What it is written to.
            chunked: Whether what is written has to be chunks of an HTTP body.
        """
        self._transport = transport
        self.chunked: bool = chunked
        self.listener: Listener | None = None

    def write(self, data: bytes) -> None:
        """Write, if anybody is there; it never waits."""
        if not self._transport.is_closing():
            self._transport.write(data)

    @property
    def left(self) -> int:
        """Bytes that were written and have not gone into the network."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()


class Wired(asyncio.Protocol):
    """A connection of ours that may be lent: tells the wire what becomes of it. Mixed into a protocol of uvicorn's."""

    wire: Wire | None = None

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        if self.wire is not None and self.wire.listener is not None:
            self.wire.listener.filled()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self.wire is not None and self.wire.listener is not None:
            self.wire.listener.emptied()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        wire, self.wire = self.wire, None
        super().connection_lost(exc)
        if wire is not None and wire.listener is not None:
            wire.listener.parted()


def lent(request: Request) -> Wire | None:
    """The connection of an answer that has begun, where the server lends it."""
    lend: Callable[[Send], Wire | None] | None = request.extensions.get(WIRE)
    return None if lend is None else lend(request.sender)
