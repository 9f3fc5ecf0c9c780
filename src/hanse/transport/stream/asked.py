"""What this node asks over one connection: requests that wait for their answers, and streams that are read.

No task and no timer belongs to a request: its answer wakes whoever waits, and one timer stands at the nearest deadline
of all. When the connection is lost, what had certainly not been written is `NotSent`, and the rest `Unavailable`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from operator import itemgetter
from typing import Final, final

import msgspec

from hanse.kernel.context import FOREVER
from hanse.kernel.faults import DeadlineExceeded, Fault, Malformed, Overloaded, TooLarge, Unavailable
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.kernel.message import CALL, ITEM, Headers, Message
from hanse.transport.base import Answer
from hanse.transport.direct import NotSent
from hanse.transport.stream.frame import CANCEL, MORE, SMALL_BYTES, Asks, Refusal, Reply, Taken
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.outbound import Outbound

AHEAD_MAX: Final = 128
"""Items of a stream that are under way at once; the next waits until some were taken."""

AHEAD_BYTES_MAX: Final = 1024 * 1024
"""Bytes of them; one more item may go as long as there are fewer."""

TAKEN_TOLD: Final = 32
"""Items that a reader takes until it says so, or as large a part of the bytes."""

ID_BYTES_MAX: Final = 64
"""More than the ids of calls have, which their callers count."""

_timeout_of = itemgetter(2)


@final
class Departure:
    """What was asked together, as those who wait for its answers see it.

    Attributes:
        flushes: How often had been written before the first of it; below 0 where there is none yet.
        began: Second on the host's clock from which their timeouts count, once they are on their way.
    """

    __slots__ = ("began", "flushes")

    def __init__(self, flushes: int = -1, began: float = FOREVER) -> None:
        self.flushes: int = flushes
        self.began: float = began


_Waiting = tuple[asyncio.Future[Answer], float, str, Departure]
# A request's reply, its timeout, its address, and what it was asked with. A tuple, as one is made for each request.


@final
class Reading:
    """The reading end of a stream: what has come, and who waits for it."""

    __slots__ = ("_ahead", "_ahead_bytes", "_taken", "_taken_bytes", "address", "deadline", "error", "flushes", "items",
                 "waiter")  # fmt: skip

    def __init__(self, address: str, deadline: float, flushes: int) -> None:
        self.address: str = address
        self.deadline: float = deadline
        self.flushes: int = flushes
        self.items: deque[Message] = deque()
        self.error: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None
        self._ahead = self._ahead_bytes = self._taken = self._taken_bytes = 0

    def put(self, message: Message) -> None:
        """An item came. Raises `Malformed` where the other side sends more than it may."""
        self._ahead += 1
        self._ahead_bytes += len(message.body)
        if self._ahead > AHEAD_MAX + 1 or self._ahead_bytes - len(message.body) > AHEAD_BYTES_MAX:
            raise Malformed(f"at most {AHEAD_MAX} items of a stream were expected before some are taken; more came")
        self.items.append(message)
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self.error = error
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def take(self) -> Message:
        """The next item. Raises what the stream failed with, once all that came before was taken."""
        while not self.items:
            if self.error is not None:
                raise self.error
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.items.popleft()

    def taken(self, message: Message) -> Taken | None:
        """An item was taken; what is to be told of that now, if anything."""
        self._taken += 1
        self._taken_bytes += len(message.body)
        if self._taken < TAKEN_TOLD and self._taken_bytes * AHEAD_MAX < AHEAD_BYTES_MAX * TAKEN_TOLD:
            return None
        told = Taken(self._taken, self._taken_bytes)
        self._ahead -= self._taken
        self._ahead_bytes -= self._taken_bytes
        self._taken = self._taken_bytes = 0
        return told


@final
class Asked:
    """The requests and streams of this node that are under way over one connection."""

    __slots__ = (
        "_bytes_max",
        "_calls_max",
        "_count",
        "_departure",
        "_forgetting",
        "_loop",
        "_monotonic",
        "_new_future",
        "_next",
        "_out",
        "_readings",
        "_small",
        "_timer",
        "_waiting",
        "used",
    )  # fmt: skip

    def __init__(self, host: Host, limits: StreamLimits, out: Outbound) -> None:
        self.used: bool = False
        """Whether anything was asked since somebody looked and set it back."""
        self._monotonic = host.monotonic
        self._bytes_max = limits.bytes_max
        self._calls_max = limits.calls_max
        self._out = out
        self._loop = asyncio.get_running_loop()
        self._departure = Departure()
        out.sealed = self._sealed
        self._small = min(SMALL_BYTES, limits.bytes_max) - ID_BYTES_MAX
        self._waiting: dict[int, _Waiting] = {}
        self._readings: dict[int, Reading] = {}
        self._count: Callable[[], int] = itertools.count(1).__next__
        self._new_future: Callable[[], asyncio.Future[Answer]] = self._loop.create_future
        self._forgetting = False
        self._next = FOREVER
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._readings)

    def call(self, id: str, address: str, timeout: float, headers: Headers, body: bytes) -> Awaitable[Answer]:
        """Ask by a call, and wait for the answer; see `AsksDirectly.calling`."""
        out = self._out
        if headers is out.headers and address is out.called and len(body) <= self._small:
            number = self._count()
            if number < out.until:
                out.asks.append((number, id, timeout, body))
                future = self._new_future()
                self._waiting[number] = (future, timeout, address, self._departure)
                return future
        return self.ask(Message(CALL, id, address, timeout, headers, body))

    def ask(self, message: Message) -> Awaitable[Answer]:
        """Ask, and wait for the answer."""
        out, waiting = self._out, self._waiting
        room = self._calls_max - len(waiting)
        if not out.free or room <= 0:
            return self._ask_later(message)
        number, flushes, self.used = self._count(), out.flushes, True
        if out.ask(number, message):
            departure = self._departure
            if departure.flushes < 0:
                departure.flushes = out.flushes
            out.until = min(out.until, number + room)  # calls add themselves without asking how many wait
        else:
            departure = Departure(flushes, self._monotonic())
            self._wait_until(departure.began, message.timeout)
        future = self._new_future()
        waiting[number] = (future, message.timeout, message.address, departure)
        return future

    async def _ask_later(self, message: Message) -> Answer:
        return await self.ask(await self._admitted(message))

    def given_up(self) -> None:
        """Somebody was cancelled who waited for an answer: at the end of this turn, whoever handles it is told."""
        if not self._forgetting and self._waiting:
            self._forgetting = True
            _ = self._loop.call_soon(self._forget)

    def _forget(self) -> None:
        """Tell of all that nobody waits for any more: one look for all of a turn, as many are given up together."""
        self._forgetting = False
        for number in [number for number, waiting in self._waiting.items() if waiting[0].cancelled()]:
            del self._waiting[number]
            self._out.send(CANCEL, number, None)

    async def stream(self, message: Message) -> AsyncIterator[Message]:
        """Ask for items; see `Direct.stream`."""
        message = await self._admitted(message)
        deadline = self._monotonic() + message.timeout if message.timeout else FOREVER
        number = self._count()
        reading = Reading(message.address, deadline, self._out.flushes)
        self._out.ask(number, message)
        self._readings[number] = reading
        self.used = True
        if deadline < self._next:
            self._wait_for(deadline)
        ended = False
        try:
            while not ended:
                reply = await reading.take()
                ended = reply.kind is not ITEM
                taken = reading.taken(reply)
                if taken is not None and not ended:
                    self._out.send(MORE, number, taken)
                yield reply
        finally:
            del self._readings[number]
            if not ended and reading.error is None:
                self._out.send(CANCEL, number, None)

    async def _admitted(self, message: Message) -> Message:
        """What may be asked now, with the time that is left.

        Raises:
            NotSent: The connection is lost.
            TooLarge: Its body is over the limit.
            Overloaded: Too much is under way there already, or waits for room.
            DeadlineExceeded: There was no room in time.
        """
        if self._out.closed:
            raise NotSent("the connection broke")
        if len(message.body) > self._bytes_max:
            raise TooLarge(f"the body of {message.address}", f"{self._bytes_max} bytes, with {len(message.body)}")
        if len(self) >= self._calls_max:
            raise Overloaded(f"{self._calls_max} requests to one node at once")
        if self._out.free:
            return message
        began = self._monotonic()
        try:
            await self._out.room(message.timeout)
        except TimeoutError:
            raise DeadlineExceeded(message.address) from None
        except Unavailable as fault:
            raise NotSent(fault.problem) from None
        if not message.timeout:
            return message
        left = message.timeout - (self._monotonic() - began)
        return msgspec.structs.replace(message, timeout=max(TICK_SECONDS, left))

    # What comes back.

    def answered(self, number: int, message: Message) -> None:
        """An answer or an item came; nobody may wait for it any more."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            if not waiting[0].done():
                waiting[0].set_result(message)
        elif (reading := self._readings.get(number)) is not None:
            reading.put(message)

    def replied(self, replies: Sequence[Reply]) -> None:
        """The bodies of answers came; nobody may wait for them any more."""
        pop = self._waiting.pop
        for number, body in replies:
            waiting = pop(number, None)
            if waiting is not None:
                try:  # noqa: SIM105 - on the way of every call
                    waiting[0].set_result(body)
                except asyncio.InvalidStateError:
                    pass  # it was given up

    def refused(self, number: int, refusal: Refusal) -> None:
        """There will be no answer."""
        self._fail(number, _fault_of(refusal))

    def lost(self, why: str) -> None:
        """The connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
        flushes = self._out.flushes
        for number, waiting in list(self._waiting.items()):
            self._fail(number, _broken(why, unsent=waiting[3].flushes == flushes))
        for number, reading in list(self._readings.items()):
            self._fail(number, _broken(why, unsent=reading.flushes == flushes))

    def _fail(self, number: int, fault: Fault) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            if not waiting[0].done():
                waiting[0].set_exception(fault)
        elif (reading := self._readings.get(number)) is not None:
            reading.fail(fault)

    # Deadlines.

    def _sealed(self, groups: list[Asks]) -> None:
        """What was gathered is on its way: its time begins, as one look at the clock for each would cost too much."""
        departure, self._departure = self._departure, Departure()
        departure.began = self._monotonic()
        for *_, asks in groups:
            least = min(map(_timeout_of, asks))
            # Most have a limit: others are told by the least, which is 0 then.
            self._wait_until(departure.began, least or min((ask[2] for ask in asks if ask[2]), default=0.0))

    def _wait_until(self, began: float, timeout: float) -> None:
        if timeout and (deadline := began + timeout) < self._next:
            self._wait_for(deadline)

    def _wait_for(self, deadline: float, least: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = deadline
        self._timer = self._loop.call_later(max(least, deadline - self._monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer, self._next = None, FOREVER
        now = self._monotonic()
        ends = [
            (number, departure.began + timeout if timeout else FOREVER, address)
            for number, (_, timeout, address, departure) in self._waiting.items()
        ]
        ends += [(number, it.deadline, it.address) for number, it in self._readings.items() if it.error is None]
        for number, deadline, address in ends:
            if deadline <= now:
                self._fail(number, DeadlineExceeded(address))
                self._out.send(CANCEL, number, None)
        if nearest := min((deadline for _, deadline, _ in ends if now < deadline < FOREVER), default=0.0):
            self._wait_for(nearest, TICK_SECONDS)


_REFUSALS: dict[str, Callable[[str], Fault]] = {
    NotSent.code: NotSent,
    Overloaded.code: Overloaded,
    TooLarge.code: lambda problem: TooLarge("the answer", problem),
}


def _fault_of(refusal: Refusal) -> Fault:
    return _REFUSALS.get(refusal.code, Unavailable)(refusal.problem)


def _broken(why: str, *, unsent: bool) -> Unavailable:
    return NotSent(why) if unsent else Unavailable(f"{why}; whether the work was done is unknown")
