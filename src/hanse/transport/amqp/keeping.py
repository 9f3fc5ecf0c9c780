"""Events that a RabbitMQ keeps: in one stream for the app, from which each group reads at its own pace.

A queue for each group would not do: a group that comes later would find nothing of what was published before, and what
is published again would be there twice. A stream keeps what everybody has read. What is confirmed is with a majority of
the stream's servers, though not yet on their disks: a kill of processes loses nothing, a power cut of all of them does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import final

from pamqp import commands
from pamqp.common import FieldValue

from hanse.kernel.faults import Misconfigured, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.transport.amqp.backlog import AmqpBacklog, Wanted
from hanse.transport.amqp.channel import ChannelError
from hanse.transport.amqp.confirms import Confirms
from hanse.transport.amqp.connection import Connection, Wires
from hanse.transport.amqp.declare import SETTLED_SECONDS, have
from hanse.transport.amqp.names import Names
from hanse.transport.brokered.frames import encode

_log = logging.getLogger("hanse.transport.amqp")

KEPT_AGE = "7D"
"""For which events are kept; RabbitMQ removes them by whole segments, some time after that."""

SEGMENT_BYTES = 64 * 1024 * 1024
"""Of the files that a stream consists of."""

PIECE_MAX = 256
PIECE_BYTES_MAX = 1024 * 1024
"""Of events that go out before it is looked whether the server takes more."""

CONFIRM_SECONDS = 10.0
"""For which a server has the time to confirm events; then they are published again."""

STREAMS_SINCE = (3, 9)
"""Version of RabbitMQ that has streams."""

FORBIDDEN = 403
"""Code of what a user has no permission for."""

_STREAM: dict[str, FieldValue] = {
    "x-queue-type": "stream",
    "x-max-age": KEPT_AGE,
    "x-stream-max-segment-size-bytes": SEGMENT_BYTES,
}


@final
class Keeping:
    """Publishes events, and opens the backlogs of groups.

    Attributes:
        trouble: Why events are not kept at the moment; empty if they are.
    """

    def __init__(self, connection: Connection, names: Names, host: Host) -> None:
        """Keep nothing yet."""
        self._host = host
        self._settled = 0.0
        self.trouble: str = ""
        self._connection = connection
        self._names = names
        self._tasks = Tasks(self._failed)
        self._backlogs: dict[AmqpBacklog, None] = {}
        self._confirms: Confirms | None = None
        self._ready: Wires | None = None
        self._turn = asyncio.Lock()

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Keeps.publish`."""
        payloads = [self._encoded(message) for message in messages]
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                wires = await self._stream()
                key, confirmed = self._names.events.encode(), list[asyncio.Future[None]]()
                for piece in _pieces(payloads):
                    assert self._confirms is not None
                    confirmed.append(self._confirms.publish(key, piece))
                    _ = await wires.out.writable.wait()
                for one in confirmed:
                    await one
                await asyncio.sleep(max(0.0, self._settled - self._host.monotonic()))
        except TimeoutError:
            self.trouble = f"RabbitMQ has confirmed no events for {CONFIRM_SECONDS:g} s"
            raise Unavailable(self.trouble) from None
        except ConnectionError as error:
            raise Unavailable(f"RabbitMQ did not say that it has the events: {error}") from None

    async def subscribe(self, group: str, topics: Sequence[str]) -> AmqpBacklog:
        """See `Keeps.subscribe`."""
        wires = await self._stream()
        backlog = AmqpBacklog(self._connection, self._names, self._host, self._tasks, Wanted(group, frozenset(topics)))
        try:
            await backlog.open(wires)
        except (ChannelError, ConnectionError) as error:
            raise _fault(error) from None
        return backlog

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.cancel()

    async def _stream(self) -> Wires:
        """The connection, once the stream is there. Raises `Unavailable` and `Misconfigured`."""
        wires = self._connection.native
        if wires is None or not self._connection.is_up:
            raise Unavailable(self._connection.trouble)
        async with self._turn:
            if self._ready is not wires or self._confirms is None or self._confirms.broken:
                refuse_old(wires.version)
                try:
                    await self._prepare(wires)
                except (ChannelError, ConnectionError) as error:
                    raise _fault(error) from None
        return wires

    async def _prepare(self, wires: Wires) -> None:
        stream = commands.Queue.Declare(queue=self._names.events, durable=True, arguments=_STREAM)
        _, new = await have(wires.into, stream)
        if new:
            self._settled = self._host.monotonic() + SETTLED_SECONDS
        channel = await wires.out.channel()
        _ = await channel.ask(commands.Confirm.Select(), commands.Confirm.SelectOk)
        self._confirms, self._ready = Confirms(channel, self._well), wires

    def _encoded(self, message: Message) -> bytes:
        payload = encode(message)
        if limit := self._connection.over(message, len(payload)):
            raise TooLarge(f"the event {message.headers.type}", limit)
        return payload

    def _well(self) -> None:
        self.trouble = ""

    @staticmethod
    def _failed(error: BaseException) -> None:
        _log.error("events that RabbitMQ keeps could not be read", exc_info=error)


def refuse_old(version: str) -> None:
    """Raise `Misconfigured` for a server that has no streams.

    Example:
        >>> refuse_old("3.8.35")
        Traceback (most recent call last):
            ...
        hanse.kernel.faults.Misconfigured: expected RabbitMQ 3.9 or later, which keeps events in streams; this is 3.8.35
    """
    found = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    if len(found) == len(STREAMS_SINCE) and tuple(found) < STREAMS_SINCE:
        raise Misconfigured(f"expected RabbitMQ 3.9 or later, which keeps events in streams; this is {version}")


def _fault(error: ChannelError | ConnectionError) -> Misconfigured | Unavailable:
    """What it comes to that events cannot be kept."""
    if isinstance(error, ChannelError) and error.code == FORBIDDEN:
        return Misconfigured(f"RabbitMQ keeps no events for this user: {error}")
    # Others pass, such as that of a server which has just started and does not have its queues yet.
    return Unavailable(f"RabbitMQ keeps no events at the moment: {error}")


def _pieces(payloads: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Events in pieces that are written at once."""
    piece, size = list[bytes](), 0
    for payload in payloads:
        if piece and (len(piece) == PIECE_MAX or size + len(payload) > PIECE_BYTES_MAX):
            yield piece
            piece, size = [], 0
        piece.append(payload)
        size += len(payload)
    if piece:
        yield piece
