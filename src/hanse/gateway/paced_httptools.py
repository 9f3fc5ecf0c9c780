"""uvicorn's connections on httptools (the extra `standard`), with limits on the head of a request."""

from __future__ import annotations

from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hanse.gateway.pace import REFUSAL
from hanse.gateway.paced import Paced, refuse
from hanse.gateway.unframed import unframe

_WITHOUT_CHUNKS = frozenset({"0.9", "1.0"})
"""Versions of HTTP that know no chunks."""


class PacedHttpTools(Paced, HttpToolsProtocol):
    """A paced connection, which knows of pipelined requests the one that is in work."""

    in_body: bool = False
    answering: RequestResponseCycle | None = None

    def send_400_response(self, msg: str) -> None:
        """See uvicorn: what cannot be read is told as a problem, unless an answer is on its way."""
        del msg
        refuse(self.transport, self.answering)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools; what comes behind a body is nobody's, and would be kept without a limit."""
        if self.in_body:
            return
        # As uvicorn does it; written out, as a request has many.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.idle_since = 0.0
        in_body = self.in_body  # of a body that is refused already, the end comes while nothing is answered
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        answered = cycle is None or cycle.response_complete
        if self.head.took(len(data), self.loop.time(), answered=answered, in_body=in_body or self.in_body):
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
        before = self.cycle
        super().on_headers_complete()
        if self.scope["http_version"] in _WITHOUT_CHUNKS and self.cycle is not before:
            unframe(self.cycle)
        if not self.pipeline:
            self.answering = self.cycle

    def on_response_complete(self) -> None:
        """See uvicorn."""
        if self.pipeline:
            self.answering = self.pipeline[-1][0]
            super().on_response_complete()
            return
        # As uvicorn does it, but for the timer: one for each answer costs more than a look at all now and then.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.idle_since: float = self.loop.time()

    def on_message_complete(self) -> None:
        """See httptools."""
        self.in_body = False
        super().on_message_complete()
