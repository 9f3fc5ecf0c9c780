"""What carries words from node to node: the part of a broker's connection that all transports over brokers need."""

from __future__ import annotations

import asyncio
from typing import Protocol

from hanse.kernel.message import Message

HEAD_BYTES = 16_384
"""Of a message for what is not its body: what a request tree carries along."""


class Post(Protocol):
    """A connection to a broker, as far as nodes say something to each other through it."""

    @property
    def is_up(self) -> bool:
        """Whether there is a broker."""
        ...

    @property
    def body_bytes_max(self) -> int:
        """Of one body."""
        ...

    def publish(self, subject: bytes, reply: bytes, payload: bytes, lead: bytes = b"") -> bool:
        """Say something; False if there is no room for it while no broker takes it.

        Args:
            subject: Where to.
            reply: Where the broker is to say that nobody listens there; empty for nowhere.
            payload: What.
            lead: Bytes before the payload.
        """
        ...

    def push(self) -> None:
        """Have what was said so far go out now, and not at the end of the turn."""
        ...

    def has_room(self, body: bytes) -> bool:
        """Whether a message of this body could wait for the broker, besides all that waits already."""
        ...

    async def writable(self) -> None:
        """Wait until the broker takes what it is sent."""
        ...

    def over(self, message: Message, size: int) -> str | None:
        """The limit that a message is over which has so many bytes in all; None if it may be sent."""
        ...


async def room(post: Post, body: bytes) -> None:
    """Wait until what waits for the broker leaves room for a message of this body, or there is no broker."""
    while post.is_up and not post.has_room(body):
        await post.writable()
        await asyncio.sleep(0)  # what waits goes out in the turn after the one in which there is room


def over(message: Message, size: int, body_bytes_max: int) -> str | None:
    """The limit that a message is over where bodies have one, and heads have theirs; None if it may be sent."""
    if len(message.body) > body_bytes_max:
        return f"{body_bytes_max} bytes"
    if size > body_bytes_max + HEAD_BYTES:
        return f"{body_bytes_max + HEAD_BYTES} bytes with its headers"
    return None


class Subjects(Protocol):
    """What of a node's is where."""

    @property
    def node(self) -> bytes:
        """Name of the process."""
        ...

    @property
    def here(self) -> bytes:
        """Begins every subject on which the node is told something; a token follows."""
        ...

    def call(self, address: str) -> bytes:
        """Where an address is called. Raises `UnknownOperation`."""
        ...

    def service(self, service: str) -> bytes:
        """Where all that a service serves is called. Raises `UnknownOperation` where that is too long a name."""
        ...

    def inbox(self, node: bytes) -> bytes:
        """Begins every subject on which another is told something."""
        ...

    def asker(self, reply: bytes) -> tuple[bytes, bytes]:
        """Which node awaits an answer at a subject, and its token; two empty ones if it is none of ours."""
        ...
