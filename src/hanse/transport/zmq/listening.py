"""Connections that others made: one ROUTER socket, which tells them apart by names that it gave them itself.

ZeroMQ tells whose connection broke by the descriptor that it had, and who sent a message by a name; both are in a
message's properties, so the first of a newcomer says what belongs together. A single connection cannot be cut off
here: an empty message tells the other side to close it, and whatever it sends nevertheless is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, final

import zmq

from hanse.transport.zmq.driven import NOW, Driven, Raw
from hanse.transport.zmq.monitor import Monitor
from hanse.transport.zmq.options import LINGER_MS
from hanse.transport.zmq.pipe import Peer, Pipe

_log = logging.getLogger("hanse.transport")

END: Final = b""
"""The message that tells the other side to close the connection."""

GIVEN_BYTES: Final = 5
"""Length of the names that ZeroMQ gives; they begin with a zero."""

_PARTS: Final = "a message of one part was expected, one of several came"


@final
class Listening:
    """A ROUTER socket, and a pipe for each who sends to it."""

    def __init__(
        self,
        context: zmq.Context[Raw],
        socket: Raw,
        make: Callable[[], asyncio.BaseProtocol],
        ended: Callable[[], Awaitable[object]],
    ) -> None:
        """Own a socket that has its options, and is not bound.

        Args:
            context: Of the socket.
            socket: Theirs who connect.
            make: Makes a protocol for each connection.
            ended: Called when the socket is closed for good, and waited for.
        """
        self._make = make
        self._ended = ended
        self._names: dict[Pipe, bytes] = {}
        self._pipes: dict[bytes, Pipe | None] = {}
        self._by_descriptor: dict[int, bytes] = {}
        self._blocked: dict[Pipe, None] = {}
        self._broken: list[bytes] = []
        self._open = True
        self._events = Monitor(context, socket, zmq.Event.DISCONNECTED, self._event)
        self._driven = Driven(socket, self._take, self._bare)

    @property
    def socket(self) -> Raw:
        """The ROUTER socket; whoever uses it takes what belongs to nodes."""
        return self._driven.socket

    # See `Server`.

    def close(self) -> None:
        """Take no more connections; those that there are go on."""
        self._open = False

    async def wait_closed(self) -> None:
        """Close the socket, with whatever connections there still are."""
        self.end()
        await self._ended()

    def end(self) -> None:
        """Close the socket, and wait for nothing."""
        self._open = False
        if not self._driven.socket.closed:
            self._events.close()
            self._driven.close(LINGER_MS)

    # What pipes ask; see `Carrier`.

    def carry(self, pipe: Pipe, data: bytes | bytearray, /) -> bool:
        """See `Carrier.carry`."""
        if self._driven.send(data, self._names[pipe]):
            _ = self._blocked.pop(pipe, None)
            return True
        self._blocked[pipe] = None
        return False

    def release(self, pipe: Pipe, /, *, cut: bool) -> None:
        """See `Carrier.release`."""
        del cut  # what the socket was given is on its way
        name = self._names.pop(pipe)
        _ = self._blocked.pop(pipe, None)
        if name in self._pipes:
            self._pipes[name] = None
            self._tell_end(name)

    # What the sockets tell.

    def _take(self) -> None:
        name = self._driven.socket.recv(NOW)
        frame = self._driven.socket.recv(NOW, copy=False)
        whole = not frame.more
        if not whole:
            self._pass_over_parts()
        if name not in self._pipes:
            self._pipes[name] = None
            self._newcomer(name, frame, whole=whole)
        elif (pipe := self._pipes[name]) is None:
            return  # it was told that the connection has ended
        elif whole:
            pipe.feed(frame.buffer)
        else:
            _log.warning("a connection of ZeroMQ's was closed: %s", _PARTS)
            pipe.abort()

    def _newcomer(self, name: bytes, frame: zmq.Frame, *, whole: bool) -> None:
        """The first message of a connection."""
        # Whoever had this descriptor before is gone, and that was told before this message came.
        self._events.look()
        self._by_descriptor[frame.get(zmq.SRCFD)] = name
        problem = _problem(name, whole=whole)
        if problem or not self._open:
            if problem:
                _log.warning("a connection of ZeroMQ's was closed: %s", problem)
            self._tell_end(name)
            return
        protocol = self._make()
        assert isinstance(protocol, asyncio.BufferedProtocol)
        pipe = Pipe(self, protocol, Peer(str(frame.get("Peer-Address")), _key(frame)))
        self._pipes[name], self._names[pipe] = pipe, name
        pipe.start()
        pipe.feed(frame.buffer)

    def _tell_end(self, name: bytes) -> None:
        try:
            # Where there is no room for it, the other side finds the connection silent.
            _ = self._driven.send(END, name)
        except zmq.ZMQError:
            return  # It is gone; or the socket is.

    def _pass_over_parts(self) -> None:
        while self._driven.socket.recv(NOW, copy=False).more:
            pass

    def _event(self, event: zmq.Event, descriptor: int) -> None:
        del event
        name = self._by_descriptor.pop(descriptor, None)
        if name is not None:
            # What had come before is still there to be taken.
            self._broken.append(name)
            self._driven.wake_soon()

    def _bare(self) -> None:
        while self._broken:
            name = self._broken.pop()
            pipe = self._pipes.get(name)
            if pipe is not None:
                pipe.lost()
            _ = self._pipes.pop(name, None)
        for pipe in list(self._blocked):
            pipe.retry()


def _problem(name: bytes, *, whole: bool) -> str:
    """Why a newcomer is no node, or nothing."""
    if len(name) != GIVEN_BYTES or name[0]:
        return f"it wants to be called {name!r}, and nodes are called as this one likes"
    return "" if whole else _PARTS


def _key(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""  # none had to be shown
