"""One direction of a simulated connection: what goes out when, and what has come. No clock, no packets, no protocol.

    unsent -> under way -> waiting -> read
    window: what may be under way and waiting; what was read is given back in large parts, as TCP does it

Where one piece ends and the next begins means nothing in a stream of bytes, so it is drawn.
"""

from __future__ import annotations

from typing import Final, final

from hanse.sim.chance import Draws

WINDOW_BYTES: Final = 256 * 1024
"""What the other side holds of a connection that it does not read; then the sender has to wait."""

PIECE_BYTES: Final = 64 * 1024
"""Of what goes in one packet, at most."""

TORN_SHARE: Final = 0.125
"""Of pieces that end at a place which nobody chose."""

GIVEN_BACK_BYTES: Final = WINDOW_BYTES // 4
"""What was read at least when the sender is told that there is room for as much more."""


@final
class Outgoing:
    """What one end has still to send.

    Attributes:
        unsent: Bytes that wait for the other side to read.
        window: Bytes that it takes at once, less what is under way to it.

    Example:
        >>> out = Outgoing(Draws(1, "out"))
        >>> out.put(b"x" * 300_000)
        >>> sum(map(len, iter(out.next, b""))), len(out.unsent)
        (262144, 37856)
        >>> out.given_back(65_536)
        >>> sum(map(len, iter(out.next, b"")))
        37856
    """

    def __init__(self, draws: Draws) -> None:
        """Have nothing to send, and all the room there is.

        Args:
            draws: Where pieces end.
        """
        self.unsent: bytearray = bytearray()
        self.window: int = WINDOW_BYTES
        self._draws = draws

    def put(self, data: bytes | bytearray | memoryview) -> None:
        """Have something sent, behind all before it."""
        self.unsent += data

    def next(self) -> bytes:
        """What goes into the next packet; nothing where nothing waits, or the other side takes no more."""
        size = min(len(self.unsent), self.window, PIECE_BYTES)
        if size > 1 and self._draws.draw() < TORN_SHARE:
            size = 1 + int(self._draws.draw() * (size - 1))
        piece = bytes(self.unsent[:size])
        del self.unsent[:size]
        self.window -= size
        return piece

    def given_back(self, count: int) -> None:
        """The other side has read so many bytes, and takes as many more."""
        self.window += count


@final
class Incoming:
    """What has come to one end, and was not read.

    Attributes:
        ended: Whether nothing more comes, as the other side has closed its end.
        broken: Why the connection is no more; it is told once all that came was read.

    Example:
        >>> came = Incoming()
        >>> came.put(b"hello")
        >>> came.take(3), came.waiting, came.give_back()
        (b'hel', 2, 0)
    """

    def __init__(self) -> None:
        """Nothing has come."""
        self.ended: bool = False
        self.broken: OSError | None = None
        self._bytes = bytearray()
        self._read = 0

    @property
    def waiting(self) -> int:
        """Bytes that were not read."""
        return len(self._bytes)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.broken is not None

    def put(self, data: bytes) -> None:
        """A piece came."""
        self._bytes += data

    def take(self, most: int) -> bytes:
        """Read what there is, up to so many bytes."""
        taken = bytes(self._bytes[:most])
        del self._bytes[:most]
        self._read += len(taken)
        return taken

    def give_back(self) -> int:
        """How many bytes the sender is to be told that were read: none until they are worth a packet."""
        read = self._read
        if read < GIVEN_BACK_BYTES:
            return 0
        self._read = 0
        return read
