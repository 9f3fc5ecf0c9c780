"""One connection over ZeroMQ, as what reads and writes frames sees it: an `asyncio.Transport`.

ZeroMQ keeps some messages for each peer by itself, and takes no more while the other side does not read; what it does
not take is kept here, counted in bytes, so that writers are told to pause.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple, Protocol, final

import zmq

GATHER_BYTES: Final = 64 * 1024
"""What waits for room becomes one message, up to so many bytes."""

HIGH_BYTES: Final = 64 * 1024
"""What may wait until writers are told to pause, unless they say otherwise."""


class Peer(NamedTuple):
    """Who is at the other end, as ZeroMQ tells.

    Attributes:
        host: Its address.
        key: Its public key, where it had to show one.
    """

    host: str
    key: str = ""


class Carrier(Protocol):
    """Takes a pipe's messages to its other end."""

    def carry(self, pipe: Pipe, data: bytes | bytearray, /) -> bool:
        """Send; whether there was room. Raises `zmq.ZMQError` where the other end is gone."""
        ...

    def release(self, pipe: Pipe, /, *, cut: bool) -> None:
        """The pipe is no more; `cut` where nothing is to be sent any more."""
        ...


@final
class Pipe(asyncio.Transport):
    """A connection to one other node."""

    def __init__(self, carrier: Carrier, protocol: asyncio.BufferedProtocol, peer: Peer) -> None:
        """Begin; the protocol is told once `start` is called."""
        super().__init__()
        self.peer: Peer = peer
        self._carrier = carrier
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[bytearray] = deque()
        self._unsent_bytes = 0
        self._high = HIGH_BYTES
        self._paused = self._closing = self._ended = False

    def start(self) -> None:
        """Tell the protocol that the connection is made."""
        self._protocol.connection_made(self)

    # What its carrier tells.

    def feed(self, data: memoryview) -> None:
        """A message came."""
        at, end = 0, len(data)
        try:
            while at < end and not self._closing:
                room = memoryview(self._protocol.get_buffer(end - at))
                count = min(len(room), end - at)
                room[:count] = data[at : at + count]
                at += count
                self._protocol.buffer_updated(count)
        except Exception as error:  # noqa: BLE001 - as asyncio does: a protocol that fails loses its connection
            told = {"message": "a protocol over ZeroMQ failed", "exception": error, "transport": self}
            self._loop.call_exception_handler(told)
            self.abort()

    def retry(self) -> None:
        """There may be room again."""
        while self._unsent and self._carried(self._unsent[0]):
            self._unsent_bytes -= len(self._unsent.popleft())
        if self._paused and self._unsent_bytes <= self._high // 4 and not self._ended:
            self._paused = False
            self._protocol.resume_writing()
        self._end_if_sent()

    def lost(self) -> None:
        """The other end is gone."""
        self._end(cut=True)

    # What the protocol asks; see `asyncio.Transport`.

    def get_extra_info(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - the signature is asyncio's
        """See `asyncio.BaseTransport.get_extra_info`."""
        return self.peer if name == "peername" else default

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport.is_closing`."""
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport.set_write_buffer_limits`; `low` is a quarter of `high`."""
        del low
        self._high = HIGH_BYTES if high is None else high

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport.get_write_buffer_size`."""
        return self._unsent_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send one message of all these bytes, now or when there is room."""
        whole = bytes(data) if isinstance(data, memoryview) else data
        if not whole or self._ended or (not self._unsent and self._carried(whole)):
            return
        if self._unsent and len(self._unsent[-1]) + len(whole) <= GATHER_BYTES:
            self._unsent[-1].extend(whole)
        else:
            self._unsent.append(bytearray(whole))
        self._unsent_bytes += len(whole)
        if self._unsent_bytes > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """Send what is to be sent, and end."""
        self._closing = True
        self._end_if_sent()

    def abort(self) -> None:
        """End at once."""
        self._end(cut=True)

    def _carried(self, data: bytes | bytearray) -> bool:
        try:
            return not self._ended and self._carrier.carry(self, data)
        except zmq.ZMQError:
            self.lost()
            return False

    def _end_if_sent(self) -> None:
        if self._closing and not self._unsent:
            self._end(cut=False)

    def _end(self, *, cut: bool) -> None:
        if self._ended:
            return
        self._closing = self._ended = True
        self._unsent.clear()
        self._unsent_bytes = 0
        self._carrier.release(self, cut=cut)
        self._loop.call_soon(self._protocol.connection_lost, None)
