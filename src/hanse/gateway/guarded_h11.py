"""uvicorn's connections on h11 (pure Python, always there), with limits on the head of a request."""

from __future__ import annotations

import asyncio
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from hanse.gateway.callers import NO_HTTP, TOO_MANY, Callers
from hanse.gateway.pace import REFUSAL, Backlog, Head
from hanse.gateway.wire import Wired


class GuardedH11(Wired, H11Protocol):
    """A connection that knows how long its next request has been coming, and its answer not been taken."""

    head: Head
    backlog: Backlog
    idle_since: float = 0.0  # never idle for us: uvicorn's own timer ends it

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

    def send_400_response(self, msg: str) -> None:
        """See uvicorn: what cannot be read is told as a problem, unless an answer is on its way."""
        del msg
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(NO_HTTP)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        in_body = self.conn.their_state is h11.SEND_BODY
        if self.head.took(len(data), self.loop.time(), answered=answered, in_body=in_body):
            self.transport.write(REFUSAL)
            self.transport.close()
