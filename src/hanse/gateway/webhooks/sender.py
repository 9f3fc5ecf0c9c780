"""What sends webhooks, as the rest of it sees that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from hanse.gateway.webhooks.address import Reach
from hanse.gateway.webhooks.schedule import Answer
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host


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


def http_sender(reach: Reach, timeout: float, host: Host) -> Sender:
    """What sends over HTTP.

    Args:
        reach: How far it may send.
        timeout: Seconds for one webhook.
        host: The clock that dates are read by.

    Raises:
        Misconfigured: What it needs is not installed.
    """
    try:
        from hanse.gateway.webhooks.http_sender import HttpSender
    except ImportError as error:
        raise Misconfigured(f"webhooks need {error.name}: pip install 'hanse[webhooks]'") from None
    return HttpSender(reach, timeout, host)
