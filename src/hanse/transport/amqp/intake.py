"""Takes requests from the queues of services: a task keeps what is taken equal to what is wanted.

Each service has a channel of its own, so that a mistake with one queue is none of the others', and one that has not
taken what it was handed is handed little more. A request is acknowledged before it is begun: nobody does it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import final

from pamqp import commands
from pamqp.common import FieldValue

from hanse.kernel.tasks import Tasks
from hanse.transport.amqp.channel import Channel, ChannelError, nothing
from hanse.transport.amqp.declare import ABSENT, DIFFERENT, declare
from hanse.transport.amqp.wire import Wire

_log = logging.getLogger("hanse.transport.amqp")

AHEAD_MAX = 16
"""Requests on their way to one instance that it has not taken: few, so that one that stands still holds up few."""

TOGETHER_MAX = 64
"""Queues that are asked for at once."""

TRIES_MAX = 3
"""How often a queue is made that is gone before anything could be taken from it."""

RETRY_SECONDS = 1.0
"""After which a queue is asked for again that the server did not give."""

EXPIRES_MILLISECONDS = 10_000
"""After which a queue is gone that nobody takes from, and that its last instance could not take along."""

SWEEPS_MAX = 50
SWEEP_SECONDS = 0.02
"""How often it is looked whether requests still wait as the last instance leaves, and how long between two looks."""

Took = Callable[[bytes, bytes, bytes, bool], None]
"""Given the queue, the properties and the body of a request, and whether somebody was handed it before. Never
raises."""


@final
class Intake:
    """Takes requests, as long as there is a connection.

    Attributes:
        wanted: Queues that are to be taken from.
    """

    def __init__(self, took: Took, tasks: Tasks) -> None:
        """Take nothing yet.

        Args:
            took: Given each request.
            tasks: Owns the task that does this.
        """
        self.wanted: dict[bytes, None] = {}
        self._took = took
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._channels: dict[bytes, Channel] = {}
        self._own: set[bytes] = set()
        self._failed: set[bytes] = set()
        self._lasting = False
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()

    def want(self, key: bytes) -> None:
        """Take from a queue from now on."""
        self.wanted[key] = None
        self._change()

    def leave(self, key: bytes) -> None:
        """Take no more from it."""
        self.wanted.pop(key, None)
        self._change()

    def start(self, wire: Wire, *, lasting: bool) -> None:
        """Take from what is wanted over a new connection.

        Args:
            wire: The connection.
            lasting: Whether queues are to be there after a restart of the server, as RabbitMQ 4 asks for.
        """
        self._change()
        self._lasting = lasting
        self._task = self._tasks.start(self._tend(wire), name="amqp intake")

    async def stop(self) -> None:
        """The connection has ended."""
        if self._task is not None:
            _ = self._task.cancel()
            _ = await asyncio.wait([self._task])
        self._task = None
        self._channels.clear()
        self._failed.clear()
        self._settled.set()

    async def settled(self) -> None:
        """Wait until the server knows what is wanted, as far as it allows that, or there is no connection any more."""
        _ = await self._settled.wait()

    def _change(self) -> None:
        self._settled.clear()
        self._changed.set()

    async def _tend(self, wire: Wire) -> None:
        while True:
            self._changed.clear()
            for key in self._channels.keys() - self.wanted.keys():
                await self._end(wire, key)
            await self._begin_all(wire)
            if not self._changed.is_set():
                self._settled.set()
            try:
                async with asyncio.timeout(RETRY_SECONDS if self._failed else None):
                    _ = await self._changed.wait()
            except TimeoutError:
                self._failed.clear()

    async def _begin_all(self, wire: Wire) -> None:
        """Take from what is wanted and not taken from: many queues at once, as each takes several answers."""
        missing = [key for key in self.wanted if key not in self._channels and key not in self._failed]
        for first in range(0, len(missing), TOGETHER_MAX):
            async with asyncio.TaskGroup() as tasks:
                for key in missing[first : first + TOGETHER_MAX]:
                    _ = tasks.create_task(self._begin(wire, key))

    async def _begin(self, wire: Wire, key: bytes) -> None:
        try:
            self._channels[key] = await self._taking(wire, key, TRIES_MAX)
        except ChannelError as error:
            self._failed.add(key)
            _log.error("RabbitMQ gives this node no requests from %s: %s", key.decode(), error)
        except ConnectionError:
            self._failed.add(key)  # whoever watches the connection knows

    async def _taking(self, wire: Wire, key: bytes, tries: int) -> Channel:
        """A channel over which requests come. Raises `ChannelError` and `ConnectionError`."""
        try:
            return await self._try(wire, key)
        except ChannelError as error:
            # Whoever was the last to leave the queue has just taken it along.
            if error.code != ABSENT or tries == 1:
                raise
        return await self._taking(wire, key, tries - 1)

    async def _try(self, wire: Wire, key: bytes) -> Channel:
        queue = key.decode()
        arguments: dict[str, FieldValue] = {"x-expires": EXPIRES_MILLISECONDS}
        wanted = commands.Queue.Declare(queue=queue, durable=self._lasting, auto_delete=True, arguments=arguments)
        channel = await wire.channel()
        try:
            _ = await channel.ask(wanted, commands.Queue.DeclareOk)
            self._own.add(key)
        except ChannelError as error:
            if error.code != DIFFERENT:
                raise
            self._own.discard(key)
            # Whoever made it is of another version, or of another mind; it is a queue. The refusal ended the channel.
            channel = await wire.channel()
        channel.takes[key] = partial(self._came, channel, key)
        channel.cancelled, channel.ended = partial(self._gone, key), partial(self._gone, key)
        _ = await channel.ask(commands.Basic.Qos(prefetch_count=AHEAD_MAX), commands.Basic.QosOk)
        _ = await channel.ask(commands.Basic.Consume(queue=queue, consumer_tag=queue), commands.Basic.ConsumeOk)
        return channel

    async def _end(self, wire: Wire, key: bytes) -> None:
        """Take no more; who is the last one takes what waits along, to say that it is not served."""
        channel, queue = self._channels.pop(key), key.decode()
        channel.cancelled, channel.ended = nothing, nothing
        try:
            for _ in range(SWEEPS_MAX):
                told = await declare(wire, commands.Queue.Declare(queue=queue, passive=True))
                if (told.consumer_count or 0) > 1:
                    break
                if not told.message_count and (key not in self._own or await self._deleted(wire, queue)):
                    break
                await asyncio.sleep(SWEEP_SECONDS)
            _ = await channel.ask(commands.Basic.Cancel(consumer_tag=queue), commands.Basic.CancelOk)
            # What was on its way to the channel within the server may come after that answer, but before the next.
            _ = await channel.ask(commands.Basic.Qos(prefetch_count=AHEAD_MAX), commands.Basic.QosOk)
            await wire.release(channel)
        except (ChannelError, ConnectionError) as error:
            _log.debug("the queue %s was gone before it was left: %s", queue, error)

    @staticmethod
    async def _deleted(wire: Wire, queue: str) -> bool:
        """Delete a queue in which nothing waits; whether that was so.

        What is sent to it from then on comes back at once. With its last consumer it would end, too, but together with
        what has come since somebody looked, of which nobody would hear.
        """
        channel = await wire.channel()
        try:
            _ = await channel.ask(commands.Queue.Delete(queue=queue, if_empty=True), commands.Queue.DeleteOk)
        except ChannelError as error:
            # The same code says that something waits in it.
            if error.code != DIFFERENT:
                raise
            return False
        await wire.release(channel)
        return True

    def _came(self, channel: Channel, key: bytes, number: int, again: bool, properties: bytes, body: bytes) -> None:  # noqa: FBT001 - see `Take`
        channel.taken(number)
        self._took(key, properties, body, again)

    def _gone(self, key: bytes, why: object) -> None:
        """Somebody has deleted the queue, or the server that it was on has gone: it is asked for again."""
        if self._channels.pop(key, None) is not None:
            _log.warning("the queue %s is not there any more: %s", key.decode(), why)
            self._change()
