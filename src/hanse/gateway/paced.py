"""What our connections do beside uvicorn's, on either parser of HTTP: they are counted, and have to keep a pace."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl

from hanse.gateway.callers import NO_HTTP, TOO_MANY, Callers
from hanse.gateway.limits import Limits
from hanse.gateway.pace import Backlog, Head
from hanse.gateway.wire import Wired


class Cycle(Protocol):
    """A request and its answer, as uvicorn has them."""

    response_started: bool
    response_complete: bool


class Paced(Wired):
    """A connection that knows how long its next request has been coming, and its answer not been taken.

    Mixed into a protocol of uvicorn's, whose attributes are named here for those who check types.

    Attributes:
        idle_since: When its last answer was complete, on the loop's clock; 0 while anything is asked or answered, and
            where uvicorn's own timer ends idle connections.
    """

    config: Config
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    client: tuple[str, int] | None
    timeout_keep_alive: int
    head: Head
    backlog: Backlog
    idle_since: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.head = Head(self.loop.time())
        self.backlog = Backlog()
        callers = cast("Callers | None", getattr(self.config, "callers", None))
        address = self.client[0] if self.client else ""
        if callers is not None and not callers.admits(address, lambda: not transport.is_closing()):
            transport.write(TOO_MANY)
            transport.close()

    def keep_alive(self, now: float, limits: Limits) -> None:
        """Cut, where its client is too slow; close, where nothing has been asked for long.

        Args:
            now: On the loop's clock.
            limits: How slow is too slow.
        """
        left = self.transport.get_write_buffer_size() if self.flow.write_paused else 0
        stuck = self.backlog.is_stuck(left, now, seconds=limits.stalled_seconds)
        if stuck or self.head.is_late(now, limits.head_seconds):
            self.transport.abort()
        elif self.idle_since and now - self.idle_since >= self.timeout_keep_alive:
            self.transport.close()


def refuse(transport: asyncio.Transport, cycle: Cycle | None) -> None:
    """Tell as a problem that what came cannot be read, unless an answer is on its way; and close."""
    if cycle is None or cycle.response_complete or not cycle.response_started:
        transport.write(NO_HTTP)
    transport.close()
