"""How an answer goes out: framed for who asked, whatever way the server has framed it."""

from __future__ import annotations

from typing import final

from hanse.deploy.edge.builtin.heads import response_head, trailer_lines
from hanse.deploy.edge.builtin.http1 import Field, RequestHead, ResponseHead


@final
class Answering:
    """The answer to one request, as bytes for its client.

    Attributes:
        closing: Whether the client's connection is closed behind it.
        reusable: Whether the server's may be used again.
    """

    def __init__(self, asked: RequestHead) -> None:
        """Nothing was answered.

        Args:
            asked: The request.
        """
        self.closing: bool = False
        self.reusable: bool = False
        self._asked = asked
        self._chunked = False

    def interim(self, head: ResponseHead) -> bytes:
        """A head before the one that counts; HTTP/1.0 knows of none."""
        return b"" if self._asked.version == "1.0" else response_head(head, [], chunked=False, close=False)

    def begin(self, head: ResponseHead, more: list[bytes], *, last: bool) -> bytes:
        """The head.

        Args:
            head: What the server answered.
            more: Lines that the edge adds.
            last: Whether nothing more is taken over the client's connection.
        """
        asked = self._asked
        unframed = head.framing in {"chunked", "close"}
        self._chunked = unframed and asked.version != "1.0"
        self.closing = (
            last or not asked.keep_alive or asked.version == "1.0" or asked.upgrade or (unframed and not self._chunked)
        )
        return response_head(head, more, chunked=self._chunked, close=self.closing)

    def piece(self, data: bytes) -> bytes:
        """A piece of the body."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def end(self, trailers: list[Field]) -> bytes:
        """The end of the body."""
        return trailer_lines(trailers) if self._chunked else b""
