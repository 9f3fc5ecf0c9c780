"""A ZeroMQ socket that the loop drives.

Such a socket has one descriptor, and it tells but once that something may have changed: then not again until somebody
has looked. Whatever is done with the socket may be such a look, and sending is. So whoever is woken takes until nothing
is left, and whoever sends looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast, final

import zmq

Raw = zmq.Socket[bytes]

TURN_MAX: Final = 64
"""Messages taken in one turn of the loop; the next are in the next, so that whatever else there is has its turn."""

NOW: Final = int(zmq.NOBLOCK)
_NOW_AND_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_EVENTS: Final = zmq.EVENTS
_POLLIN: Final = int(zmq.POLLIN)


@final
class Driven:
    """Takes what comes to a socket, and tells when all of it is taken."""

    __slots__ = ("_bare", "_fd", "_loop", "_soon", "_take", "socket")

    def __init__(self, socket: Raw, take: Callable[[], object], bare: Callable[[], object] | None = None) -> None:
        """Drive a socket from now on, and own it.

        Args:
            socket: Ready to be used.
            take: Takes one message. Raises `zmq.Again` where there is none.
            bare: Called when nothing is left; by then, there may be room again for what could not be sent.
        """
        self.socket: Raw = socket
        self._take = take
        self._bare = bare
        self._loop = asyncio.get_running_loop()
        self._fd = socket.fileno()
        self._loop.add_reader(self._fd, self.wake)
        # What came before was told to nobody.
        self._soon: asyncio.Handle | None = self._loop.call_soon(self.wake)

    def wake(self) -> None:
        """Take what has come."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        try:
            for _ in range(TURN_MAX):
                if self.socket.closed:
                    return
                self._take()
                if not self._is_full():
                    break
            else:
                self.wake_soon()
                return
        except zmq.Again:
            pass
        except Exception:
            # What came behind the message that failed is told no more.
            self.wake_soon()
            raise
        if self._bare is not None:
            self._bare()

    def wake_soon(self) -> None:
        """Take what has come in the next turn of the loop."""
        if self._soon is None and not self.socket.closed:
            self._soon = self._loop.call_soon(self.wake)

    def send(self, data: bytes | bytearray, to: bytes | None = None) -> bool:
        """Have a message sent; whether there was room.

        Args:
            data: Its one part.
            to: The peer, where the socket has several.

        Raises:
            zmq.ZMQError: There is no such peer.
        """
        try:
            if to is not None:
                self.socket.send(to, _NOW_AND_MORE)
            self.socket.send(data, NOW)
        except zmq.Again:
            return False
        finally:
            self.look()
        return True

    def look(self) -> None:
        """Make sure that what came meanwhile is taken."""
        if self._soon is None and self._is_full():
            self.wake_soon()

    def _is_full(self) -> bool:
        """Whether something is to be taken. To ask costs half of what it costs to try."""
        socket = self.socket
        return not socket.closed and cast("int", socket.getsockopt(_EVENTS)) & _POLLIN != 0

    def close(self, linger_ms: int) -> None:
        """Let go of the socket; what it was given to send has so long to go out."""
        if self._soon is not None:
            self._soon.cancel()
        if not self.socket.closed:
            self._loop.remove_reader(self._fd)
            self.socket.close(linger_ms)
