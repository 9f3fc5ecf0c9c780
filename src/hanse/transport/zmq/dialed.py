"""A connection that this node made: a DEALER socket of its own, which is never connected twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, final

import zmq

from hanse.transport.zmq.driven import NOW, Driven, Raw
from hanse.transport.zmq.monitor import Monitor
from hanse.transport.zmq.options import LINGER_MS
from hanse.transport.zmq.pipe import Peer, Pipe

_MADE: Final = zmq.Event.HANDSHAKE_SUCCEEDED
_ENDS: Final = {
    zmq.Event.CLOSED: "nobody listens there",
    zmq.Event.DISCONNECTED: "the connection broke",
    zmq.Event.HANDSHAKE_FAILED_AUTH: "this node's key is not allowed there",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "the other side does not prove the key that it was told to have",
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: "the other side broke off while it was greeted",
}


@final
class Dialed:
    """A DEALER socket, and whether it is connected."""

    def __init__(self, context: zmq.Context[Raw], socket: Raw) -> None:
        """Own a socket that has its options, and is not connected."""
        self._made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pipe: Pipe | None = None
        self._lost = False
        events = _MADE
        for event in _ENDS:
            events |= event
        # Heard of before anything happens.
        self._events = Monitor(context, socket, events, self._event)
        self._driven = Driven(socket, self._take, self._bare)

    async def connect(self, endpoint: str, peer: Peer, make: Callable[[], asyncio.BaseProtocol]) -> None:
        """Connect, and have a protocol told of it.

        Args:
            endpoint: Where to, as ZeroMQ writes it.
            peer: Who is expected there.
            make: Makes the protocol.

        Raises:
            OSError: Nobody is there, or not who is expected.
            ValueError: This is no endpoint.
        """
        try:
            self._driven.socket.connect(endpoint)
            await self._made
        except zmq.ZMQError as error:
            self._close(0)
            raise ValueError(f"{endpoint}: {error.strerror}") from None
        except BaseException:
            self._close(0)
            raise
        protocol = make()
        assert isinstance(protocol, asyncio.BufferedProtocol)
        self._pipe = Pipe(self, protocol, peer)
        self._pipe.start()
        self._driven.look()

    # What the pipe asks; see `Carrier`.

    def carry(self, pipe: Pipe, data: bytes | bytearray, /) -> bool:
        """See `Carrier.carry`."""
        del pipe
        return self._driven.send(data)

    def release(self, pipe: Pipe, /, *, cut: bool) -> None:
        """See `Carrier.release`."""
        del pipe
        self._close(0 if cut else LINGER_MS)

    # What the sockets tell.

    def _take(self) -> None:
        if self._pipe is None:
            raise zmq.Again  # nobody to take it yet: `connect` looks again
        frame = self._driven.socket.recv(NOW, copy=False)
        if not frame.more and len(frame):
            self._pipe.feed(frame.buffer)
            return
        # An empty message says that the connection has ended; one of several parts is nothing that a node sends.
        self._pipe.lost()

    def _bare(self) -> None:
        if self._pipe is None:
            return
        if self._lost:
            self._pipe.lost()
        else:
            self._pipe.retry()

    def _event(self, event: zmq.Event, number: int) -> None:
        del number
        if event == _MADE:
            if not self._made.done():
                self._made.set_result(None)
        elif not self._made.done():
            self._made.set_exception(OSError(_ENDS[event]))
        else:
            self._lost = True
            self._driven.wake()  # what had come before is still there

    def _close(self, linger_ms: int) -> None:
        if not self._driven.socket.closed:
            self._events.close()
            self._driven.close(linger_ms)
            _ = self._made.cancel()
