"""The way out of one connection: what is said in one turn of the loop is gathered, and written once.

A write costs a hundred times what it costs to gather a message. While the other side takes less than comes, requests
and items wait for `room`; answers to what has begun are written all the same, and nothing further is begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, final

from hanse.kernel.faults import Overloaded, TooLarge, Unavailable
from hanse.kernel.message import CALL, NO_HEADERS, Headers, Kind, Message
from hanse.transport.headers import LastHeaders
from hanse.transport.stream.frame import (
    ASKS,
    REFUSE,
    REPLIES,
    REPLY,
    SMALL_BYTES,
    TOGETHER_MAX,
    Ask,
    Asks,
    Refusal,
    Reply,
    frame_bytes_max,
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
        "_address",
        "_encode",
        "_frame_bytes_max",
        "_groups",
        "_kind",
        "_limits",
        "_loop",
        "_out",
        "_replies",
        "_small",
        "_transport",
        "_waiting",
        "_woken",
        "_writable",
        "asks",
        "called",
        "flushes",
        "free",
        "headers",
        "paused",
        "said",
        "sealed",
        "until",
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
        self.sealed: Callable[[list[Asks]], None] = _nobody
        """Told of what was gathered with others, as it becomes a frame."""
        # The group that is gathered: what those in it have in common, and the first number that does not go with them.
        # To what `called` says, if anything, `Asked.call` adds by itself, as most calls go with the one before.
        self.asks: list[Ask] = []
        self.called: str | None = None
        self.headers: Headers = NO_HEADERS
        self.until: int = 0
        self._address: str | None = None
        self._limits = limits
        self._small = min(SMALL_BYTES, limits.bytes_max)
        self._frame_bytes_max = frame_bytes_max(limits.bytes_max)
        self._loop = asyncio.get_running_loop()
        self._out = bytearray()
        self._groups: list[Asks] = []
        self._kind: Kind = CALL
        self._encode = LastHeaders().encode
        self._replies: list[Reply] = []
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
        self._groups.clear()
        self._address = self.called = None
        self._replies.clear()
        self._out.clear()
        self._writable.set()

    @property
    def closed(self) -> bool:
        """Whether nothing goes out any more."""
        return self._transport is None

    # Each of these has something written in this turn of the loop; nothing, where the connection is lost.

    def ask(self, number: int, message: Message) -> bool:
        """Ask something, under a number that is larger than those before; whether it is gathered with others.

        Raises:
            TooLarge: It is over the limit of a body, or with its headers over that of a frame.
        """
        if not self._woken and not self._wakes():
            return False
        id, body = message.id, message.body
        # Texts that may not be encodable at all fail by themselves, and not what is gathered with them.
        if len(body) + len(id) <= self._small and id.isascii():
            alike = message.headers is self.headers and message.address is self._address and message.kind is self._kind
            if (alike and number < self.until) or self._begin_group(number, message):
                self.asks.append((number, id, message.timeout, body))
                return True
        self._ask_alone(number, message)
        return False

    def _begin_group(self, number: int, message: Message) -> bool:
        """Gather messages like this one from now on; False for one that has to go alone."""
        address, headers, encoded = message.address, message.headers, self._encode(message.headers)
        if not address.isascii() or len(encoded) + len(address) > SMALL_BYTES:
            return False
        if number >= self.until or not self._groups:
            self._seal()
            self._flush_if_much()
            self.until = number + TOGETHER_MAX
        self._kind, self._address, self.headers, self.asks = message.kind, address, headers, []
        self.called = address if message.kind is CALL and self.free else None
        self._groups.append((message.kind, address, encoded, self.asks))
        return True

    def _ask_alone(self, number: int, message: Message) -> None:
        if (size := len(message.body)) > (limit := self._limits.bytes_max):
            raise TooLarge(f"the body of {message.address}", f"{limit} bytes, with {size}")
        self._seal()
        ask = (number, message.id, message.timeout, message.body)
        asks = (message.kind, message.address, self._encode(message.headers), (ask,))
        pack(ASKS, 0, (asks,), self._out, self._frame_bytes_max)
        self._flush_if_much()

    def reply(self, number: int, body: bytes) -> None:
        """Tell the body of an answer; of one that is over the limit, that it is."""
        if not self._woken and not self._wakes():
            return
        if len(body) > self._small:
            self._reply_alone(number, body)
            return
        replies = self._replies
        replies.append((number, body))
        if len(replies) >= TOGETHER_MAX:
            self._seal()
            self._flush_if_much()

    def _reply_alone(self, number: int, body: bytes) -> None:
        if len(body) > (limit := self._limits.bytes_max):
            self.send(REFUSE, number, Refusal(TooLarge.code, f"{limit} bytes, with {len(body)}"))
            return
        out = self._out
        out += head(len(body), REPLY, number)
        out += body
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
        if self._groups:
            self._address = self.called = None
            self.sealed(self._groups)
            pack(ASKS, 0, self._groups, self._out, self._frame_bytes_max)
            self._groups.clear()
        if self._replies:
            pack(REPLIES, 0, self._replies, self._out, self._frame_bytes_max)
            self._replies.clear()

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
        self.paused, self.free, self.called = True, False, None
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


def _nobody(groups: list[Asks]) -> None:
    del groups
