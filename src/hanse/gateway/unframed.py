"""Answers to clients of HTTP/1.0, who know no chunks: a body whose length is not known ends with the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_FRAMING = b"transfer-encoding"
_WITHOUT_BODY = frozenset({204, 304})


class UnframedCycle(RequestResponseCycle):
    """uvicorn's answer to one request, which frames bodies in chunks whoever asks; this one does not."""

    unframed: bool = False
    chunked_encoding: bool | None = None
    expected_content_length: int = 0

    async def send(self, message: ASGISendEvent) -> None:
        """See uvicorn."""
        if message["type"] == "http.response.start" and not self.response_started:
            headers = [(name, value) for name, value in message.get("headers", []) if name.lower() != _FRAMING]
            message["headers"] = headers
            lengths = [value for name, value in headers if name.lower() == b"content-length"]
            self.unframed = not lengths and message["status"] not in _WITHOUT_BODY
            if self.unframed:
                self.chunked_encoding = False
                self.keep_alive = False
        elif self.unframed and message["type"] == "http.response.body":
            # What uvicorn compares with the length that the head told: here it is as long as it turns out to be.
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def unframe(cycle: RequestResponseCycle) -> None:
    """Have an answer that has not begun go without chunks."""
    cycle.__class__ = UnframedCycle
    # It may be asked to stay open; what has no length cannot, and to close is what this version is about.
    cycle.keep_alive = False
