"""uvicorn's connections on httptools (the extra `standard`), with limits on the head of a request."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hanse.gateway.pace import REFUSAL, Backlog, Head


class GuardedHttpTools(HttpToolsProtocol):
    """A connection that knows how long its next request has been coming, and its answer not been taken."""

    head: Head
    backlog: Backlog
    in_body: bool = False
    answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.head = Head(self.loop.time())
        self.backlog = Backlog()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        if self.head.took(len(data), self.loop.time(), answered=answered, in_body=self.in_body):
            self.transport.write(REFUSAL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        # uvicorn tells only the last of pipelined requests; the one in work would write to a closed transport.
        if self.answering is not None:
            self.answering.disconnected = True
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.in_body = True
        super().on_headers_complete()
        if not self.pipeline:
            self.answering = self.cycle

    def on_response_complete(self) -> None:
        """See uvicorn."""
        if self.pipeline:
            self.answering = self.pipeline[-1][0]
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        self.in_body = False
        super().on_message_complete()
