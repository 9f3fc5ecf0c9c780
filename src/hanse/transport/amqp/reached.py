"""How far a group has come, for those who do not have its turn: they cannot see the word that is the turn.

Whoever has the turn puts each word into a second queue as well, which keeps the last one only. Who wants to know takes
it from there, looks at it, and lets go of it unacknowledged, so that it is there for the next.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from pamqp import commands
from pamqp.common import FieldValue

from hanse.transport.amqp.channel import Channel
from hanse.transport.amqp.declare import fails
from hanse.transport.amqp.progress import Word

DELIVERIES_MAX: Final = 1_000_000
"""How often one word is looked at: by default RabbitMQ throws it away after 20 times."""

LAST: Final[dict[str, FieldValue]] = {
    "x-queue-type": "quorum",
    "x-max-length": 1,
    "x-overflow": "drop-head",
    "x-delivery-limit": DELIVERIES_MAX,
}
"""How the queue is set up."""

_word = msgspec.msgpack.Decoder(Word)


def word_in(body: bytes) -> Word | None:
    """A word as it was said; None for what is none.

    Example:
        >>> word_in(msgspec.msgpack.encode([7, [3]])), word_in(b"else")
        (Word(reached=7, undone=[3], last='', losses=0), None)
    """
    try:
        return _word.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def look(channel: Channel, queue: str) -> Word:
    """The last word of a group; waits while another looks at it.

    Args:
        channel: Of its own; let go of it afterwards.
        queue: Where the word is.

    Raises:
        ChannelError: The server does not let it be read.
        ConnectionError: The connection ended, or the queue is not there any more.
    """
    found: asyncio.Future[Word] = asyncio.get_running_loop().create_future()

    def come(number: int, again: bool, properties: bytes, body: bytes) -> None:  # noqa: FBT001 - see `Take`
        del number, again, properties
        if not found.done():
            found.set_result(word_in(body) or Word())

    channel.takes[b"r"] = come
    fails(channel, found, f"the queue {queue} is not there any more")
    _ = await channel.ask(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    _ = await channel.ask(commands.Basic.Consume(queue=queue, consumer_tag="r"), commands.Basic.ConsumeOk)
    return await found
