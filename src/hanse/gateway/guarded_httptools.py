"""uvicorn's connections on httptools (the extra `standard`), with limits on the head of a request."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hanse.gateway.head import REFUSAL, Head


class GuardedHttpTools(HttpToolsProtocol):
    """A connection that knows how long its next request has been coming."""

    head: Head
    in_body: bool = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.head = Head(self.loop.time())

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        if self.head.took(len(data), self.loop.time(), answered=answered, in_body=self.in_body):
            self.transport.write(REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        self.in_body = False
        super().on_message_complete()
