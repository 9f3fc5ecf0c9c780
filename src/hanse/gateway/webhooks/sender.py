"""What sends webhooks, as the rest of it sees that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from hanse.gateway.webhooks.schedule import Answer


class Sending(msgspec.Struct, frozen=True):
    """A webhook as it is sent: where to, with which headers, and its body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Sender(Protocol):
    """Sends webhooks. A test, or a simulated world, brings its own."""

    async def send(self, sending: Sending) -> Answer:
        """Send one; the answer says what came of it, whatever that was, and within a time of the sender's own."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
