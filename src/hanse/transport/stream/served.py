"""What one other node asks of this one over one connection: handlers that run for it, and streams that it reads.

While the connection takes less than comes, nothing further is begun: what is asked then is held, within limits, and
refused beyond. To stop reading instead could stop both ends for good, each waiting for the other to read.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast, final

from hanse.kernel.closing import closing
from hanse.kernel.faults import Overloaded, TooLarge, Unavailable
from hanse.kernel.message import ITEM, STREAM, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer, Receiver, body_of, whole
from hanse.transport.direct import NotSent
from hanse.transport.headers import KnownHeaders
from hanse.transport.lot import Handle, Lot, Worker, handlers_of
from hanse.transport.stream.asked import AHEAD_BYTES_MAX, AHEAD_MAX
from hanse.transport.stream.frame import ANSWER, REFUSE, Ask, Asks, Refusal, Taken
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.outbound import Outbound
from hanse.transport.workers import Workers

HELD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bodies of what is asked and held while the connection is slow; what is more is refused with `Overloaded`."""


class Serving:
    """What one node serves, whoever asks: shared by its connections."""

    def __init__(self, receiver: Receiver, tasks: Tasks) -> None:
        """Serve.

        Args:
            receiver: Handles what comes.
            tasks: Owns the handlers.
        """
        self.receiver: Receiver = receiver
        self.handler: Callable[[str], Handle] = handlers_of(receiver)
        self.tasks: Tasks = tasks
        self.context: contextvars.Context = contextvars.copy_context()
        self.workers: Workers = Workers(tasks)


@final
class _Writing:
    """The writing end of a stream: how much more may go."""

    __slots__ = ("items", "size", "waiter")

    def __init__(self) -> None:
        self.items = AHEAD_MAX
        self.size = AHEAD_BYTES_MAX
        self.waiter: asyncio.Future[None] | None = None

    def more(self, taken: Taken) -> None:
        self.items += taken.items
        self.size += taken.bytes
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def room(self, message: Message) -> None:
        while self.items <= 0 or self.size <= 0:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        self.items -= 1
        self.size -= len(message.body)


@final
class Served:
    """What is under way for one other node."""

    __slots__ = (
        "_begins_max",
        "_bytes_max",
        "_handler",
        "_held",
        "_held_bytes",
        "_known",
        "_last",
        "_leaving",
        "_lots",
        "_out",
        "_serving",
        "_serving_max",
        "_streams",
        "_taken",
        "_writings",
        "unwanted",
        "used",
        "working",
    )

    def __init__(self, serving: Serving, limits: StreamLimits, out: Outbound) -> None:
        self.working: dict[Worker, None] = {}
        """Who handles what has begun and not ended."""
        self._streams: dict[int, asyncio.Task[None]] = {}
        self._lots: deque[Lot[int]] = deque()
        self._last = 0
        self._taken: set[int] | None = None
        self.unwanted: set[int] = set()
        """What was cancelled since then: see `forget`."""
        self._serving = serving
        self.used: bool = False
        """Whether anything was asked since somebody looked and set it back."""
        self._bytes_max = limits.bytes_max
        self._serving_max = limits.serving_max
        self._handler = serving.handler
        self._out = out
        self._writings: dict[int, _Writing] = {}
        self._held: dict[int, tuple[Message, float]] = {}
        self._held_bytes = 0
        self._known = KnownHeaders()
        self._leaving = False
        self._begins_max = limits.serving_max

    def __len__(self) -> int:
        return len(self.working) + len(self._streams) + len(self._held) + sum(len(lot.asks) for lot in self._lots)

    def ask(self, groups: Sequence[Asks], came: float) -> None:
        """Something is asked, and came at this second of the host's clock. Raises `msgspec.DecodeError`."""
        self.used, self._taken = True, None
        while self._lots and not self._lots[0].asks:
            _ = self._lots.popleft()
        handles: dict[str, Handle] = {}  # calls of different stories come in groups of one
        room = self._begins_max - len(self)
        for kind, address, encoded, asks in groups:
            headers = self._known.of(encoded)
            room -= len(asks)
            # What is larger than all numbers before cannot be under way.
            alone = kind is STREAM or headers.tags or headers.extra or not asks or asks[0][0] <= self._last
            if room < 0 or alone or not self._out.free:
                self._begin_each(kind, address, encoded, asks, came, room + len(asks))
                continue
            handle = handles.get(address)
            if handle is None:
                handle = handles[address] = self._handler(address)
            self._last = asks[-1][0]
            asks.reverse()
            self._put(Lot(self, kind, address, headers, came, asks, handle))

    def _begin_each(
        self, kind: Kind, address: str, encoded: bytes, asks: Sequence[Ask], came: float, room: int
    ) -> None:
        """Begin what cannot begin with others: each has headers of its own, which its handler may write into."""
        for place, (number, id, timeout, body) in enumerate(asks):
            message = Message(kind, id, address, timeout, self._known.of(encoded), body)
            if self._leaving:
                self._refuse(number, NotSent.code, "the node that was asked is going away")
            elif place >= room:
                self._refuse(number, Overloaded.code, f"{self._serving_max} requests of one node at once")
            elif number <= self._last and self._is_taken(number):
                self._refuse(number, Unavailable.code, f"number {number} is under way already")
            elif not self._out.free:
                self._hold(number, message, came)
            else:
                self._begin(number, message, came)
            self._last = max(self._last, number)

    def _begin(self, number: int, message: Message, came: float) -> None:
        if message.kind is STREAM:
            self._begin_stream(number, message)
        else:
            asks, handle = [(number, message.id, message.timeout, message.body)], self._handler(message.address)
            self._put(Lot(self, message.kind, message.address, message.headers, came, asks, handle))

    def _put(self, lot: Lot[int]) -> None:
        self._lots.append(lot)
        if self._taken is not None:
            self._taken.update(ask[0] for ask in lot.asks)
        self._serving.workers.put(lot)

    def _is_taken(self, number: int) -> bool:
        """Whether something is under way under a number; all such are looked up once for what comes together."""
        if self._taken is None:
            self._taken = {ask[0] for lot in self._lots for ask in lot.asks}
            self._taken.update(cast("int", worker.key) for worker in self.working)
        return number in self._taken or number in self._streams or number in self._held

    def _hold(self, number: int, message: Message, came: float) -> None:
        """Keep for later what cannot begin now, or refuse it."""
        if self._held_bytes + len(message.body) > HELD_BYTES_MAX:
            self._refuse(number, Overloaded.code, "what may be asked while the answers are not read")
        else:
            self._held[number] = message, came
            self._held_bytes += len(message.body)

    def _begin_stream(self, number: int, message: Message) -> None:
        serving = self._serving
        try:
            task = serving.context.run(serving.tasks.start, self._items(number, message), name=message.address)
        except Overloaded as fault:
            self._refuse(number, fault.code, fault.limit)
        else:
            self._streams[number] = task
            self._writings[number] = _Writing()
            task.add_done_callback(partial(self._ended, number))

    def resumed(self) -> None:
        """The connection takes more again: what was held begins."""
        while self._held and self._out.free:
            number = next(iter(self._held))
            message, came = self._held.pop(number)
            self._held_bytes -= len(message.body)
            self._begin(number, message, came)

    @property
    def told(self) -> Callable[[int, bytes], None]:
        """See `Asker.told`."""
        return self._out.reply

    def handled(self, number: int, message: Message, answer: Answer | None, /) -> None:
        """See `Asker.handled`."""
        body = body_of(answer, message)
        if answer is None:
            self._refuse(number, Unavailable.code, "the handler was ended before it answered")
        elif body is not None:
            self.told(number, body)
        else:
            _ = self._answer(number, whole(answer, message))

    def _answer(self, number: int, reply: Message) -> bool:
        """Send any answer, or an item; one that is too large is told of instead. Whether it was sent."""
        size, limit = len(reply.body), self._bytes_max
        try:
            if size <= limit:
                self._out.send(ANSWER, number, reply)
                return True
            problem = f"{limit} bytes, with {size}"
        except TooLarge as fault:
            problem = fault.limit
        self._refuse(number, TooLarge.code, problem)
        return False

    def cancel(self, number: int) -> None:
        """Whoever asked wants it no more."""
        if number in self._streams:
            _ = self._streams[number].cancel()
        elif number in self._held:
            message, _ = self._held.pop(number)
            self._held_bytes -= len(message.body)
        else:
            self.unwanted.add(number)

    def forget(self) -> None:
        """All that came together has been looked at: what is not wanted any more ends, or does not begin."""
        for worker in self.working:
            if worker.key in self.unwanted:
                _ = worker.task.cancel()
        for lot in self._lots:
            lot.asks[:] = [ask for ask in lot.asks if ask[0] not in self.unwanted]
        self.unwanted.clear()

    def more(self, number: int, taken: Taken) -> None:
        """The reader of a stream took some items."""
        writing = self._writings.get(number)
        if writing is not None:
            writing.more(taken)

    def leave(self) -> None:
        """Take nothing more."""
        self._leaving = True
        self._begins_max = 0

    def lost(self) -> None:
        """Whoever asked has gone."""
        self._held.clear()
        for lot in self._lots:
            lot.asks.clear()
        for task in [*(worker.task for worker in self.working), *self._streams.values()]:
            _ = task.cancel()

    def _refuse(self, number: int, code: str, problem: str) -> None:
        self._out.send(REFUSE, number, Refusal(code, problem))

    async def _items(self, number: int, message: Message) -> None:
        writing = self._writings[number]
        async with closing(self._serving.receiver.serve_stream(message)) as replies:
            async for reply in replies:
                ends = reply.kind is not ITEM
                if not ends:
                    await writing.room(reply)
                if self._out.paused:
                    await self._out.room()
                if not self._answer(number, reply) or ends:
                    return
        self._refuse(number, Unavailable.code, f"{message.address} broke off")

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        # Also of a task that was cancelled before it began.
        del self._writings[number]
        _ = self._streams.pop(number, None)
        if task.cancelled() or task.exception() is not None:
            self._refuse(number, Unavailable.code, "the handler was ended before its stream was")
