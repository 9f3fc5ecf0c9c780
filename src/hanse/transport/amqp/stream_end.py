"""Where a stream ends: how far it has come, and whether it still has an event that a group has seen.

RabbitMQ does not say it. It hands out its last events at once to whoever wants them, but not all of them where another
server is the stream's leader: that does for a figure, and not for a decision. And who reads from a number that is not
there yet is told nothing, and later is handed only what comes from that number on: whatever has a smaller one by then,
as the stream had lost its end, is passed over unseen.
So the last events are looked at first. Where the one that is sought does not come, an event that nobody wants is put
behind all others, and once that comes, all has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pamqp import commands
from pamqp.common import FieldValue

from hanse.kernel.host import Host
from hanse.kernel.message import EVENT, Message
from hanse.transport.amqp.channel import Channel
from hanse.transport.amqp.declare import fails
from hanse.transport.amqp.frames import offset_in, properties_in
from hanse.transport.brokered.frames import MESSAGE, encode

PATIENCE_SECONDS = 0.5
"""For which the last events have the time to come, before something is put behind them."""

ANSWER_SECONDS = 10.0
"""For which what was put there has the time to come back."""

AHEAD_MAX = 512
"""Events on their way that were not looked at."""

LAST_MAX = 65_535
"""Events that are taken as the last ones: all that were written at once, of which there are fewer."""

ADDRESS = "hanse.end"
"""Of an event that only tells where the stream ends."""


class Put(Protocol):
    """Puts a message into the stream."""

    def __call__(self, mark: bytes, payload: bytes, /) -> object:
        """Have it known by a mark when it comes."""
        ...


async def has(channel: Channel, stream: str, number: int, host: Host, put: Put) -> bool:
    """Whether a stream has an event of this number or a later one.

    Args:
        channel: Of its own; let go of it afterwards.
        stream: Its name.
        number: That the event had.
        host: Its ids.
        put: Puts a message into the stream.

    Raises:
        ChannelError: The server does not let it be read.
        ConnectionError: The connection ended, the stream is not there any more, or what was put into it does not come
            back.
    """
    found: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    mark = host.new_id()
    channel.takes[b"l"] = _looking(channel, found, number, mark.encode())
    fails(channel, found, "the stream is not there any more")
    await _read_last(channel, stream, AHEAD_MAX)
    _ = await asyncio.wait([found], timeout=PATIENCE_SECONDS)
    if not found.done():
        _ = put(mark.encode(), MESSAGE + encode(Message(EVENT, mark, ADDRESS, 0.0)))
    _ = await asyncio.wait([found], timeout=ANSWER_SECONDS)
    if not found.done():
        raise ConnectionError(f"its stream did not tell its end within {ANSWER_SECONDS:g} s")
    return found.result()


async def end_of(channel: Channel, stream: str) -> int:
    """The number of the last event, as far as the server knows that one is connected to; -1 where there is none.

    Args:
        channel: Of its own; let go of it afterwards.
        stream: Its name.

    Raises:
        ChannelError: The server does not let it be read.
        ConnectionError: The connection ended.
    """
    numbers = [-1]
    channel.takes[b"l"] = lambda _, __, properties, ___: numbers.append(offset_in(properties))
    await _read_last(channel, stream, LAST_MAX)
    # What is there is on its way before this is answered.
    _ = await channel.ask(commands.Basic.Qos(prefetch_count=LAST_MAX), commands.Basic.QosOk)
    return numbers[-1]


async def _read_last(channel: Channel, stream: str, ahead: int) -> None:
    last: dict[str, FieldValue] = {"x-stream-offset": "last"}
    _ = await channel.ask(commands.Basic.Qos(prefetch_count=ahead), commands.Basic.QosOk)
    reading = commands.Basic.Consume(queue=stream, consumer_tag="l", arguments=last)
    _ = await channel.ask(reading, commands.Basic.ConsumeOk)


def _looking(
    channel: Channel, found: asyncio.Future[bool], number: int, mark: bytes
) -> Callable[[int, bool, bytes, bytes], None]:
    def look(delivery: int, again: bool, properties: bytes, body: bytes) -> None:  # noqa: FBT001 - see `Take`
        del again, body
        if found.done():
            return  # the channel is let go of, and must not be spoken on any more
        channel.taken(delivery)
        offset, is_mark = offset_in(properties), properties_in(properties).correlation == mark
        if is_mark or offset >= number:
            found.set_result(offset > number or not is_mark)

    return look
