"""What of a request's body is still to be sent to a server, and what is kept to send it once more."""

from __future__ import annotations

from hanse.deploy.edge.builtin.heads import trailer_lines
from hanse.deploy.edge.builtin.http1 import Field

WAITING_BYTES_MAX = 64 * 1024
"""Of a body that waits for its server; the client is not read from beyond."""


class Outgoing:
    r"""A body on its way to a server, as it goes over the wire.

    Attributes:
        done: Whether all of it has come.
        kept: Whether all that was sent is still there.
        waiting: Bytes that are to be sent.

    Example:
        >>> body = Outgoing(chunked=True, keep=100)
        >>> body.add(b"hello")
        >>> body.take(), body.take()
        ([b'5\r\nhello\r\n'], [])
        >>> body.rewind()
        >>> body.take()
        [b'5\r\nhello\r\n']
    """

    __slots__ = ("_chunked", "_keep", "_pieces", "_sent", "_sent_bytes", "done", "kept", "waiting")

    def __init__(self, *, chunked: bool, keep: int) -> None:
        """Nothing has come.

        Args:
            chunked: Whether it goes out in chunks.
            keep: Bytes that are kept at most.
        """
        self._chunked = chunked
        self._keep = keep
        self._pieces: list[bytes] = []
        self._sent = 0
        self._sent_bytes = 0
        self.done: bool = False
        self.kept: bool = True
        self.waiting: int = 0

    def add(self, data: bytes) -> None:
        """More has come."""
        self._put(self.framed(data))

    def framed(self, data: bytes) -> bytes:
        """A piece of a body, as it goes over the wire."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def end(self, trailers: list[Field]) -> None:
        """All has come."""
        self.done = True
        if self._chunked:
            self._put(trailer_lines(trailers))

    def take(self) -> list[bytes]:
        """What is to be sent now, and counts as sent."""
        pieces = self._pieces[self._sent :]
        self._sent_bytes += self.waiting
        self.waiting = 0
        self._sent = len(self._pieces)
        if self._sent_bytes > self._keep:
            self.kept = False
        if not self.kept:
            self.forget()
        return pieces

    def forget(self) -> None:
        """Keep nothing that was sent: it will not be sent again."""
        del self._pieces[: self._sent]
        self._sent = 0
        self.kept = self.kept and not self._sent_bytes

    def rewind(self) -> None:
        """Begin once more; only where all is kept."""
        assert self.kept
        self._sent = 0
        self.waiting += self._sent_bytes
        self._sent_bytes = 0

    def _put(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.waiting += len(piece)
