"""Queues: to have one, whoever made it; and channels that are had for one thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from pamqp import commands

from hanse.kernel.tasks import Tasks
from hanse.transport.amqp.channel import Channel, ChannelError, nothing
from hanse.transport.amqp.wire import Wire

T = TypeVar("T")

ABSENT, DIFFERENT = 404, 406
"""Codes of a queue that is not there, and of one that is there with other properties."""

SETTLED_SECONDS = 1.5
"""After which a queue that was just made is there after a kill of its server: RabbitMQ writes the names of those that
it keeps by Raft half a second after the last of them, and what has no name then is lost, confirmed or not."""


async def declare(wire: Wire, command: commands.Queue.Declare) -> commands.Queue.DeclareOk:
    """Have a queue, which may be there already with other properties; on a channel of its own, as a refusal ends it.

    Raises:
        ChannelError: The server does not give it.
        ConnectionError: The connection ended.
    """
    try:
        return await _declared(wire, command)
    except ChannelError as error:
        if error.code != DIFFERENT:
            raise
        # Whoever made it is of another version, or of another mind; it is a queue.
        return await _declared(wire, commands.Queue.Declare(queue=command.queue, passive=True))


async def _declared(wire: Wire, command: commands.Queue.Declare) -> commands.Queue.DeclareOk:
    channel = await wire.channel()
    reply = await channel.ask(command, commands.Queue.DeclareOk)
    await wire.release(channel)
    return reply


async def have(wire: Wire, command: commands.Queue.Declare) -> tuple[commands.Queue.DeclareOk, bool]:
    """Have a queue that is to last, and know whether it was just made. Raises as `declare` does."""
    try:
        return await _declared(wire, commands.Queue.Declare(queue=command.queue, passive=True)), False
    except ChannelError as error:
        if error.code != ABSENT:
            raise
        return await declare(wire, command), True


@asynccontextmanager
async def aside(wire: Wire, tasks: Tasks) -> AsyncGenerator[Channel]:
    """A channel for one thing, which is let go of in the end, also where that is given up amid it.

    Raises:
        ChannelError: The server does not open it.
        ConnectionError: The connection ended.
    """
    channel = await wire.channel()
    try:
        yield channel
    finally:
        channel.ended = channel.cancelled = nothing
        if not channel.is_over:
            # Nobody waits for it, and who was cancelled cannot.
            _ = tasks.start(_release(wire, channel))


def fails(channel: Channel, future: asyncio.Future[T], gone: str) -> None:
    """Have a future fail when a channel ends, or what is read on it is not there any more."""

    def fail(why: Exception) -> None:
        if not future.done():
            future.set_exception(why)
            _ = future.exception()  # whoever waits for something else on the channel is told already

    channel.ended = fail
    channel.cancelled = lambda _: fail(ConnectionError(gone))


async def _release(wire: Wire, channel: Channel) -> None:
    with suppress(ChannelError, ConnectionError):
        await wire.release(channel)
