"""One connection to one server: frames, and the channels that they belong to; one turn of the loop is one write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast, final

from pamqp import commands

from hanse.kernel.faults import Malformed
from hanse.transport.amqp.channel import Channel, nothing
from hanse.transport.amqp.frames import (
    BODY,
    END,
    FRAME_BYTES,
    FRAME_MAX,
    GREETING,
    HEAD_BYTES,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    command_in,
    head,
)

CHANNELS_MAX = 2_000
"""Channels of one connection; RabbitMQ allows 2,047 unless it is told otherwise."""


@final
class Wire(asyncio.Protocol):
    """Frames to a server, and what it says.

    Attributes:
        ended: Set once it, or the one that it goes with, has ended.
        writable: Whether the server takes what it is sent.
        main: The channel of the connection itself.
        blocked: Told why the server takes no messages at the moment; empty where it does again.
        why: Why it ended.
        code: What the server gave as the reason's number; 0 where it gave none.
        quiet: How often in a row `look` found that nothing had come since the last time.
    """

    def __init__(self, ended: asyncio.Event) -> None:
        """Be ready for a connection; `ended` is set when this one ends, or another that it goes with."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._rest = b""
        self._heard = True
        self._count = 0
        self.main: Channel = Channel(0, self.say, nothing)
        self._channels: dict[int, Channel] = {0: self.main}
        self.blocked: Callable[[str], None] = nothing
        self.ended: asyncio.Event = ended
        self.writable: asyncio.Event = asyncio.Event()
        self.writable.set()
        self.why: str = ""
        self.code: int = 0
        self.quiet: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.say(GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.why = self.why or (str(exc) if exc else "the server closed it")
        self._transport = None
        self._out.clear()
        self._out_bytes = 0
        self.writable.set()
        self.ended.set()
        error = ConnectionError(self.why)
        for channel in list(self._channels.values()):
            channel.end(error)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = True
        if self._rest:
            data = self._rest + data
        try:
            self._rest = data[self._frames(data) :]
        except Malformed as fault:
            self.abort(f"it does not speak AMQP 0-9-1 as RabbitMQ does: {fault.detail}")

    @property
    def waiting(self) -> int:
        """Bytes that the server has not taken."""
        written = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return written + self._out_bytes

    async def channel(self) -> Channel:
        """A new channel.

        Raises:
            ConnectionError: The connection ended, or has its limit of channels.
            ChannelError: The server does not open it.
        """
        if len(self._channels) > CHANNELS_MAX:
            raise ConnectionError(f"there are {CHANNELS_MAX} channels already")
        self._count += 1
        while self._count in self._channels:
            self._count = self._count % CHANNELS_MAX + 1
        channel = self._channels[self._count] = Channel(self._count, self.say, self._channels.pop)
        if self.ended.is_set():
            channel.end(ConnectionError(self.why))
        _ = await channel.ask(commands.Channel.Open(), commands.Channel.OpenOk)
        return channel

    async def release(self, channel: Channel) -> None:
        """End a channel: what was handed out on it and not acknowledged is handed to others."""
        goodbye = commands.Channel.Close(reply_code=200, class_id=0, method_id=0)
        try:
            _ = await channel.ask(goodbye, commands.Channel.CloseOk)
        finally:
            channel.end(ConnectionError("the channel was closed"))

    def say(self, said: bytes) -> None:
        """Say frames; they go out with all else that this turn of the loop says."""
        if self._transport is None:
            return
        if not self._out:
            _ = self._loop.call_soon(self.flush)
        self._out.append(said)
        self._out_bytes += len(said)

    def flush(self) -> None:
        """Write what was said so far."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    def look(self) -> None:
        """Have the server hear something, and notice when it has said nothing."""
        self.quiet = 0 if self._heard else self.quiet + 1
        self._heard = False
        self.say(HEARTBEAT_FRAME)

    def abort(self, why: str) -> None:
        """End it now."""
        self.why = self.why or why
        if self._transport is not None:
            self._transport.abort()

    def _frames(self, data: bytes) -> int:
        """Hand on all frames that are whole; how many bytes they have. Raises `Malformed`."""
        at, size = 0, len(data)
        while size - at >= HEAD_BYTES:
            kind, number, length = head.unpack_from(data, at)
            end = at + length + FRAME_BYTES
            if not METHOD <= kind <= HEARTBEAT or length > FRAME_MAX:
                raise Malformed(f"expected a frame, got {data[at : at + 40]!r}")
            if end > size:
                break
            if data[end - 1] != END:
                raise Malformed("expected the end of a frame where it said that it is")
            payload = data[at + HEAD_BYTES : end - 1]
            if (channel := self._channels.get(number)) is None:
                pass  # it was closed while this was on its way
            elif kind == METHOD and number:
                channel.method(payload)
            elif kind == HEADER:
                channel.header(payload)
            elif kind == BODY:
                channel.body(payload)
            elif kind == METHOD:
                self._said(payload)
            at = end
        return at

    def _said(self, payload: bytes) -> None:
        """The server says something about the connection."""
        command = command_in(payload)
        if isinstance(command, commands.Connection.Close):
            self.why, self.code = command.reply_text or "the server closed it", command.reply_code or 0
            self.main.tell(commands.Connection.CloseOk())
            self.flush()
            self.abort(self.why)
        elif isinstance(command, commands.Connection.Blocked):
            self.blocked(command.reason or "it did not say why")
        elif isinstance(command, commands.Connection.Unblocked):
            self.blocked("")
        else:
            self.main.method(payload)
