"""The way out of one connection: frames are gathered, and written once per turn of the loop.

A write costs a hundred times what it costs to append a frame. While the other side takes less than comes, requests
and items wait for `room`; answers to what has begun are written all the same, and nothing further is begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, final

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.transport.stream.frame import HEADERS_BYTES_MAX, REPLY, head, pack
from hanse.transport.stream.limits import StreamLimits

FLUSH_BYTES: Final = 256 * 1024
"""What is gathered at most before it is written within a turn."""


@final
class Outbound:
    """What goes out on one connection."""

    __slots__ = (
        "_frame_bytes_max",
        "_limits",
        "_loop",
        "_out",
        "_transport",
        "_waiting",
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
        self._out.clear()
        self._writable.set()

    @property
    def closed(self) -> bool:
        """Whether nothing goes out any more."""
        return self._transport is None

    def send(self, kind: int, number: int, content: object) -> None:
        """Have a frame written in this turn of the loop; none where the connection is lost.

        Raises:
            TooLarge: It is over the limit of a frame.
        """
        out = self._out
        if not out:
            if self._transport is None:
                return
            self._loop.call_soon(self.flush)
        pack(kind, number, content, out, self._frame_bytes_max)
        if len(out) > FLUSH_BYTES:
            self.flush()

    def send_reply(self, number: int, body: bytes) -> None:
        """Have the body of an answer written in this turn of the loop; not where the connection is lost."""
        out = self._out
        if not out:
            if self._transport is None:
                return
            self._loop.call_soon(self.flush)
        out += head(len(body), REPLY, number)
        out += body
        if len(out) > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
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
