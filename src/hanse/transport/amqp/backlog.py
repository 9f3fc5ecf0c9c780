"""What a RabbitMQ keeps for one group: the stream of the app, and a queue in which one word says how far it has come.

The word is also whose turn it is: RabbitMQ hands it to one consumer of the queue at a time, and to the next when that
one has gone. Whoever has it reads the stream from there. What it has done it says by a new word, and acknowledges the
old one when the new one has come back to it; so there is always one, and where there are two, they say more together.
All events of the app come, and those are left out that the group does not want: RabbitMQ does not sort a stream.
A turn begins with a look at whether the stream still has what the group has seen of it: see `progress`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import NamedTuple, final

from pamqp import commands
from pamqp.common import FieldValue

from hanse.kernel.faults import Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.transport.amqp.channel import Channel, ChannelError, nothing
from hanse.transport.amqp.connection import Connection, Wires
from hanse.transport.amqp.declare import SETTLED_SECONDS, aside, declare, have
from hanse.transport.amqp.frames import kept_as, offset_in, properties_in
from hanse.transport.amqp.names import Names
from hanse.transport.amqp.progress import Progress, Word
from hanse.transport.amqp.reached import DELIVERIES_MAX, LAST, look, word_in
from hanse.transport.amqp.stream_end import end_of, has
from hanse.transport.base import Kept
from hanse.transport.brokered.frames import encode, message_in

_log = logging.getLogger("hanse.transport.amqp")

AHEAD_MAX = 512
"""Events on their way that nobody has taken."""

WORDS_MAX = 16
"""Words on their way: one, or a few where one was killed who was just saying another."""

SCANNED_MAX = 5_000
"""Events that are read again when a turn begins, to know those by their ids that were published again."""

SKIPPED_MAX = 5_000
"""Events that are left out until the group's word says so, where it is not said by the way."""

SAID_SECONDS = 10.0
"""For which a word has the time to come back; somebody else has it then, and the turn."""

CLOSE_SECONDS = 2.0
"""For which a server has the time to take what was acknowledged last."""

_QUEUE: dict[str, FieldValue] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": DELIVERIES_MAX,
}


class Wanted(NamedTuple):
    """What a group wants.

    Attributes:
        group: Its name.
        topics: The types of events.
    """

    group: str
    topics: frozenset[str]


@final
class AmqpBacklog:
    """See `hanse.transport.base.Backlog`."""

    def __init__(self, connection: Connection, names: Names, host: Host, tasks: Tasks, wanted: Wanted) -> None:
        """Be closed.

        Args:
            connection: What words are said through.
            names: Names the stream and the queue.
            host: Its clock.
            tasks: Owns the task that says words.
            wanted: Whose it is, and what that one wants.
        """
        self._connection = connection
        self._events = names.events
        self._queue, self._reached = names.group(wanted.group), names.reached(wanted.group)
        self._node = names.node
        self._host = host
        self._wanted = wanted
        self._tasks = tasks
        self._settled = 0.0
        self._task: asyncio.Task[None] | None = None
        self._wires: Wires | None = None
        self._turns: Channel | None = None
        self._stream: Channel | None = None
        self._channels: list[Channel] = []
        self._progress: Progress | None = None
        self._has_turn = asyncio.Event()
        self._dirty = asyncio.Event()
        self._said = asyncio.Event()
        self._came: deque[tuple[int, int, bytes]] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self._words = 0
        self._mark = b""
        self._begun = False
        self._lost = False
        self._closed = False
        self._told = -1
        self._why = "it was not opened"

    async def open(self, wires: Wires) -> None:
        """Wait for the turn from now on. Raises `ChannelError` and `ConnectionError`."""
        self._wires, self._why = wires, ""
        wanted = commands.Queue.Declare(queue=self._queue, durable=True, arguments=_QUEUE)
        there, new = await have(wires.into, wanted)
        _ = await declare(wires.into, commands.Queue.Declare(queue=self._reached, durable=True, arguments=LAST))
        if new:
            self._settled = self._host.monotonic() + SETTLED_SECONDS
        if not there.message_count and not there.consumer_count:
            # Where two do this at once there are two words, which is as good as one. Nobody waits for what is not
            # there yet: the word goes first.
            self._say(Word())
            _ = await wires.calls.ask(commands.Basic.Qos(prefetch_count=0), commands.Basic.QosOk)
        self._turns, self._stream = await wires.into.channel(), await wires.into.channel()
        self._turns.takes[b"w"], self._stream.takes[b"e"] = self._heard, self._come
        self._channels = [self._turns, self._stream]
        for channel in self._channels:
            channel.cancelled, channel.ended = self._end, self._end
        _ = await self._turns.ask(commands.Basic.Qos(prefetch_count=WORDS_MAX), commands.Basic.QosOk)
        taking = commands.Basic.Consume(queue=self._queue, consumer_tag="w")
        self._task = self._tasks.start(self._run(self._stream), name="amqp backlog")
        _ = await self._turns.ask(taking, commands.Basic.ConsumeOk)

    async def take(self, count: int) -> list[Kept]:
        """See `Backlog.take`."""
        while not self._why:
            if kept := self._next(count):
                return kept
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)
        raise Unavailable(f"the events of {self._wanted.group!r} cannot be taken: {self._why}")

    def done(self, kept: Kept) -> None:
        """See `Backlog.done`."""
        if self._progress is not None and not self._closed:
            self._progress.done(kept.number)
            self._dirty.set()

    async def left(self) -> int:
        """See `TellsLeft.left`; events of other topics count until somebody has looked at them."""
        if self._why or self._wires is None:
            raise Unavailable(self._why)
        try:
            if self._progress is not None:
                word = self._progress.word()
            else:
                async with aside(self._wires.into, self._tasks) as channel:
                    word = await look(channel, self._reached)
            async with aside(self._wires.into, self._tasks) as channel:
                end = await end_of(channel, self._events)
        except (ChannelError, ConnectionError) as error:
            raise Unavailable(f"RabbitMQ does not tell what is left for {self._wanted.group!r}: {error}") from None
        return len(word.undone) + max(0, end - word.reached)

    async def close(self) -> None:
        """See `Backlog.close`."""
        if self._closed or self._wires is None:
            return
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._leave()
            await asyncio.sleep(max(0.0, self._settled - self._host.monotonic()))
        except (TimeoutError, ConnectionError, ChannelError) as error:
            why = str(error) or "it took too long"
            _log.warning("what was acknowledged last of %s may come again: %s", self._wanted.group, why)
        self._end("it was closed")
        if self._task is not None:
            _ = self._task.cancel()
            _ = await asyncio.wait([self._task], timeout=CLOSE_SECONDS)

    async def _leave(self) -> None:
        """Say how far the group has come, and give the turn to the next."""
        progress = self._progress
        if progress is not None and progress.word().reached > self._told:
            progress.changed = True
        while progress is not None and not self._why and (progress.changed or self._mark):
            self._said.clear()
            self._dirty.set()
            _ = await self._said.wait()
        await self._release()

    async def _release(self) -> None:
        """Let the next have the turn. Raises `ChannelError` and `ConnectionError`."""
        while self._channels and self._wires is not None:
            channel = self._channels.pop()
            if not channel.is_over:
                channel.ended = channel.cancelled = nothing
                await self._wires.into.release(channel)

    def _end(self, why: object) -> None:
        """Nothing more is handed out."""
        self._why = self._why or str(why)
        self._said.set()
        self._dirty.set()
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    # Words.

    async def _run(self, stream: Channel) -> None:
        try:
            _ = await self._has_turn.wait()
            await self._look()
            await self._read(stream)
            while not self._why:
                lost = self._lost
                await self._save()
                if lost:
                    self._end("the stream is not the one that the group knew; it begins with the oldest event")
                _ = await self._dirty.wait()
                self._dirty.clear()
        except (ChannelError, ConnectionError) as error:
            self._end(error)
        except TimeoutError:
            self._end("it has lost its turn, as its word did not come back")
        with suppress(ChannelError, ConnectionError):
            await self._release()

    async def _look(self) -> None:
        """See whether the stream still goes as far as the group had come."""
        progress, wires = self._progress, self._wires
        assert progress is not None
        assert wires is not None
        if progress.reached < 0:
            return
        async with aside(wires.into, self._tasks) as channel:
            there = await has(channel, self._events, progress.reached, self._host, self._put)
        if not there:
            self._progress = self._lose(progress)

    def _put(self, mark: bytes, payload: bytes) -> object:
        return self._connection.put(self._events.encode(), kept_as(mark), payload)

    def _lose(self, progress: Progress) -> Progress:
        _log.error(
            "RabbitMQ has lost events, or they were deleted: the group %s had come to %d, and the event that was there "
            "is not; it begins with the oldest. Streams are not flushed: have them on several servers",
            *(self._wanted.group, progress.reached),
        )
        return progress.lose()

    async def _read(self, stream: Channel) -> None:
        assert self._progress is not None
        start = max(0, self._progress.first - SCANNED_MAX)
        _ = await stream.ask(commands.Basic.Qos(prefetch_count=AHEAD_MAX), commands.Basic.QosOk)
        reading = commands.Basic.Consume(
            queue=self._events, consumer_tag="e", arguments={"x-stream-offset": start or "first"}
        )
        _ = await stream.ask(reading, commands.Basic.ConsumeOk)

    async def _save(self) -> None:
        """Say how far the group has come, and wait until that has come back."""
        assert self._progress is not None
        if not self._progress.changed:
            return
        self._progress.changed = False
        word = self._progress.word()
        self._said.clear()
        self._say(word)
        async with asyncio.timeout(SAID_SECONDS):
            _ = await self._said.wait()
        self._told = word.reached

    def _say(self, word: Word) -> None:
        self._words += 1
        self._mark = b"%b.%d" % (self._node, self._words)
        for queue in (self._queue, self._reached):
            _ = self._connection.put(queue.encode(), kept_as(self._mark), encode(word))

    def _heard(self, number: int, again: bool, properties: bytes, body: bytes) -> None:  # noqa: FBT001 - see `Take`
        """A word came: the turn, or what was said last, or what somebody said who had the turn."""
        del again
        if (word := word_in(body)) is None:
            _log.error("what is in the queue %s is no word of Hanse's: it is left out", self._queue)
            word = Word()
        if self._progress is None:
            self._progress, self._told = Progress(word), word.reached
            # Those who wait lack it where an older version had the turn, or the server forgot it.
            _ = self._connection.put(self._reached.encode(), properties, body)
            self._mark = b""
            self._has_turn.set()
        elif properties_in(properties).correlation != self._mark:
            if not self._progress.hear(word):
                # Both words stay in the queue: whoever has the turn next knows the later stream from the start.
                self._end("another has found that the stream is not the one that the group knew")
            else:
                self._dirty.set()
        else:
            self._mark = b""
            if self._turns is not None and number > 1:
                self._turns.taken(number - 1)
            self._said.set()

    # Events.

    def _come(self, number: int, again: bool, properties: bytes, body: bytes) -> None:  # noqa: FBT001 - see `Take`
        del again
        self._came.append((number, offset_in(properties), body))
        self._wake()

    def _next(self, count: int) -> list[Kept]:
        """What has come, at most so many."""
        kept, last, progress = list[Kept](), 0, self._progress
        while self._came and len(kept) < count and not self._lost:
            assert progress is not None
            last, number, body = self._came.popleft()
            if not self._begun:
                self._begin(progress, number)
            message = self._message(number, body)
            id = "" if message is None else message.id
            if not progress.fits(number, id):
                # What was handed out in this turn has numbers that others have now: it is done with by their marks.
                self._progress, self._lost = self._lose(progress), True
                self._dirty.set()
                return []
            if message is None or message.headers.type not in self._wanted.topics or not progress.wants(number, id):
                progress.skipped(number, id)
            else:
                progress.handed(number, id)
                kept.append(Kept(number, message))
        if last and self._stream is not None:
            self._stream.taken(last)
        if progress is not None and progress.word().reached > self._told + SKIPPED_MAX:
            progress.changed = True
            self._dirty.set()
        return kept

    def _begin(self, progress: Progress, number: int) -> None:
        """The first event of the turn has come: RabbitMQ may have removed some before it."""
        self._begun = True
        if lost := progress.gone(number):
            _log.error(
                "%d events are gone that %s has not handled: RabbitMQ keeps them for a time only",
                lost,
                self._wanted.group,
            )

    def _message(self, number: int, body: bytes) -> Message | None:
        """The event, if it is one."""
        try:
            return message_in(body)
        except Malformed as fault:
            _log.error("what is in the stream %s at %d is left out: %s", self._events, number, fault.detail)
            return None
