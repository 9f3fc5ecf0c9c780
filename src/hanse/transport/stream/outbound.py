"""The way out of one connection: what is said in one turn of the loop is gathered, and written once.

A write costs a hundred times what it costs to gather a message. While the other side takes less than comes, requests
and items wait for `room`; answers to what has begun are written all the same, and nothing further is begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, final

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.kernel.message import Message
from hanse.transport.headers import LastHeaders
from hanse.transport.stream.frame import (
    ASKS,
    HEADERS_BYTES_MAX,
    REPLIES,
    REPLY,
    SMALL_BYTES,
    TOGETHER_BYTES,
    Ask,
    Reply,
    head,
    pack,
)
from hanse.transport.stream.limits import StreamLimits

FLUSH_BYTES: Final = 256 * 1024
"""What is gathered at most before it is written within a turn."""


@final
class Outbound:
    """What goes out on one connection."""

    __slots__ = (
        "_asks",
        "_asks_size",
        "_frame_bytes_max",
        "_last",
        "_limits",
        "_loop",
        "_out",
        "_replies",
        "_replies_size",
        "_transport",
        "_waiting",
        "_woken",
        "_writable",
        "flushes",
        "free",
        "paused",
        "said",
    )

    def __init__(self, limits: StreamLimits) -> None:
        """Gather, until there is a connection to write to.

        Args:
            limits: How much may wait.
        """
        self.flushes: int = 0
        """Counts writes, so that whoever failed can tell what has certainly not been sent."""
        self.paused: bool = False
        """Whether the other side takes less than comes."""
        self.free: bool = False
        """Whether more may be sent at once: there is a connection, and it is not paused."""
        self.said: bool = False
        """Whether anything was written since somebody looked and set it back."""
        self._limits = limits
        self._frame_bytes_max = limits.bytes_max + HEADERS_BYTES_MAX
        self._loop = asyncio.get_running_loop()
        self._out = bytearray()
        self._asks: list[Ask] = []
        self._replies: list[Reply] = []
        self._asks_size = self._replies_size = 0
        self._last = LastHeaders()
        self._woken = False
        self._transport: asyncio.WriteTransport | None = None
        self._writable = asyncio.Event()
        self._waiting = 0

    def open(self, transport: asyncio.WriteTransport, preface: bytes) -> None:
        """The connection is made."""
        transport.set_write_buffer_limits(self._limits.unsent_bytes)
        self._transport, self.free = transport, True
        transport.write(preface)

    def close(self) -> None:
        """The connection is lost: what was not written is not, and nobody waits for room any more."""
        self._transport, self.free = None, False
        self._asks.clear()
        self._replies.clear()
        self._out.clear()
        self._writable.set()

    @property
    def closed(self) -> bool:
        """Whether nothing goes out any more."""
        return self._transport is None

    # Each of these has something written in this turn of the loop; nothing, where the connection is lost.

    def ask(self, number: int, message: Message) -> None:
        """Ask something.

        Raises:
            TooLarge: It is over the limit of a frame.
        """
        if not self._woken and not self._wakes():
            return
        body, id, address, headers = message.body, message.id, message.address, message.headers
        last = self._last
        encoded = last.encoded if headers is last.headers else last.encode(headers)
        ask = (number, message.kind, id, address, message.timeout, encoded, body)
        size = len(body) + len(encoded) + len(id) + len(address)
        # Texts that may not be encodable at all fail here, and not those that are gathered with them.
        if size > SMALL_BYTES or not id.isascii() or not address.isascii():
            self._seal()
            pack(ASKS, 0, (ask,), self._out, self._frame_bytes_max)
            self._flush_if_much()
            return
        self._asks.append(ask)
        self._asks_size += size
        if self._asks_size > TOGETHER_BYTES:
            self._seal()
            self._flush_if_much()

    def reply(self, number: int, body: bytes) -> None:
        """Tell the body of an answer."""
        if not self._woken and not self._wakes():
            return
        size = len(body)
        if size > SMALL_BYTES:
            out = self._out
            out += head(size, REPLY, number)
            out += body
            self._flush_if_much()
            return
        self._replies.append((number, body))
        self._replies_size += size
        if self._replies_size > TOGETHER_BYTES:
            self._seal()
            self._flush_if_much()

    def send(self, kind: int, number: int, content: object) -> None:
        """Send any other frame, behind what was said before it.

        Raises:
            TooLarge: It is over the limit of a frame.
        """
        if not self._woken and not self._wakes():
            return
        self._seal()
        pack(kind, number, content, self._out, self._frame_bytes_max)
        self._flush_if_much()

    def flush(self) -> None:
        """Write what was gathered."""
        self._woken = False
        self._seal()
        self._write()

    def _wakes(self) -> bool:
        """Have what is gathered written at the end of this turn; False where nothing can be."""
        if self._transport is None:
            return False
        self._woken = True
        _ = self._loop.call_soon(self.flush)
        return True

    def _seal(self) -> None:
        """Make frames of what is gathered for frames of several."""
        if self._asks:
            pack(ASKS, 0, self._asks, self._out, self._frame_bytes_max)
            self._asks.clear()
            self._asks_size = 0
        if self._replies:
            pack(REPLIES, 0, self._replies, self._out, self._frame_bytes_max)
            self._replies.clear()
            self._replies_size = 0

    def _flush_if_much(self) -> None:
        if len(self._out) > FLUSH_BYTES:
            self._write()

    def _write(self) -> None:
        transport, out = self._transport, self._out
        if transport is None or not out:
            return
        self._out = bytearray()  # The loop keeps the other one until the kernel has taken it.
        self.flushes += 1
        self.said = True
        transport.write(out)
        if self.paused and transport.get_write_buffer_size() > self._limits.unsent_bytes_max:
            transport.abort()

    def pause(self) -> None:
        """The other side takes less than comes."""
        self.paused, self.free = True, False
        self._writable.clear()

    def resume(self) -> None:
        """It has caught up."""
        self.paused, self.free = False, self._transport is not None
        self._writable.set()

    async def room(self, seconds: float | None = None) -> None:
        """Wait until more may be sent.

        Raises:
            Overloaded: Too many wait already.
            Unavailable: The connection was lost meanwhile.
            TimeoutError: So many seconds are over.
        """
        if self._waiting >= self._limits.waiting_max:
            raise Overloaded(f"{self._waiting} requests that wait for one slow connection")
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds) if seconds else contextlib.nullcontext():
                while self.paused and self._transport is not None:
                    await self._writable.wait()
        finally:
            self._waiting -= 1
        if self._transport is None:
            raise Unavailable("the connection broke before the message was sent")
