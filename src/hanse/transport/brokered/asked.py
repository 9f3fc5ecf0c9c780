"""What a node waits for: answers and items, each under a token, until they come, nobody can send them, or time is up.

One timer waits for the nearest deadline: one per call would cost as much as the call.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import final

import msgspec

from hanse.kernel.faults import DeadlineExceeded, Overloaded, Unavailable
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.kernel.message import Message
from hanse.transport.base import Answer

ASKED_MAX = 100_000
"""Requests that one node waits for at once, and as many streams."""

FOREVER = float("inf")


@final
class Awaited(msgspec.Struct, eq=False):
    """A request that waits for its answer. A struct, as one is made for each.

    Attributes:
        message: What was asked, with the time that was left then.
        since: When it was asked.
        deadline: Second on the host's monotonic clock.
        reply: The answer, or why there is none.
        tries: How often it had been asked before, where nobody was there.
        peer: Who works on it, once that is known.
    """

    message: Message
    since: float
    deadline: float
    reply: asyncio.Future[Answer]
    tries: int = 0
    peer: bytes = b""

    @property
    def address(self) -> str:
        """What was asked."""
        return self.message.address

    def fail(self, fault: Exception) -> None:
        """There will be no answer."""
        if not self.reply.done():
            self.reply.set_exception(fault)
            _ = self.reply.exception()  # whoever waits may be cancelled in this very turn


@final
class Reading:
    """A stream that is read: what has come, in order, and who waits for it.

    Attributes:
        address: What was asked.
        since: When it was asked.
        peer: Who makes the items, once that is known.
    """

    __slots__ = ("address", "fault", "items", "next", "peer", "since", "waiter")

    def __init__(self, address: str, since: float) -> None:
        self.address: str = address
        self.since: float = since
        self.peer: bytes = b""
        self.items: deque[Message] = deque()
        self.next: int = 0
        self.fault: Exception | None = None
        self.waiter: asyncio.Future[None] | None = None

    def put(self, index: int, message: Message) -> None:
        """An item came; if one before it did not, the stream breaks."""
        if index != self.next:
            self.fail(Unavailable("an item was lost on its way; ask again where the stream stopped"))
            return
        self.next += 1
        self.items.append(message)
        self._wake()

    def fail(self, fault: Exception) -> None:
        """Nothing more comes; what has come is still read."""
        if self.fault is None:
            self.fault = fault
            self._wake()

    async def take(self) -> Message:
        """The next item. Raises the fault that the stream came to."""
        while not self.items:
            if self.fault is not None:
                raise self.fault
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.items.popleft()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


@final
class Asked:
    """All that one node waits for.

    Attributes:
        waiting: Requests by token, in the order in which they were asked.
        readings: Streams by token.
    """

    def __init__(self, host: Host, silence: float) -> None:
        """Wait for nothing yet.

        Args:
            host: Its clock tells when time is up.
            silence: Seconds after which what nobody said that he works on has got lost.
        """
        self.waiting: dict[bytes, Awaited] = {}
        self.readings: dict[bytes, Reading] = {}
        self._host = host
        self._monotonic = host.monotonic
        self._silence = silence
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._nearest = FOREVER
        self._loop: asyncio.AbstractEventLoop | None = None  # to ask for it is as dear as a message

    @property
    def is_empty(self) -> bool:
        """Whether it waits for nothing."""
        return not self.waiting and not self.readings

    def ask(
        self, message: Message, reply: asyncio.Future[Answer] | None = None, tries: int = 0
    ) -> tuple[bytes, asyncio.Future[Answer]]:
        """Wait for an answer: under which token, and what it is to be. Raises `Overloaded`.

        Args:
            message: What is asked, with the time that is left.
            reply: Is to be the answer, where somebody waits for it already.
            tries: How often it was asked before.
        """
        waiting = self.waiting
        if len(waiting) >= ASKED_MAX:
            raise _too_many()
        if reply is None:
            if (loop := self._loop) is None:
                loop = self._loop = asyncio.get_running_loop()
            reply = loop.create_future()
        now, timeout = self._monotonic(), message.timeout
        deadline = now + timeout if timeout else FOREVER
        self._count = count = self._count + 1
        token = b"%d" % count
        waiting[token] = Awaited(message, now, deadline, reply, tries)
        if deadline < self._nearest:
            self._wait_for(deadline)
        return token, reply

    def read(self, message: Message) -> tuple[bytes, Reading]:
        """Wait for items. Raises `Overloaded`."""
        if len(self.readings) >= ASKED_MAX:
            raise _too_many()
        self._count += 1
        token, reading = b"%d" % self._count, Reading(message.address, self._monotonic())
        self.readings[token] = reading
        return token, reading

    def drop(self, token: bytes) -> None:
        """Nobody waits for this answer any more."""
        if (awaited := self.waiting.pop(token, None)) is not None and not awaited.reply.cancel():
            _ = awaited.reply.cancelled() or awaited.reply.exception()  # whoever drops it says why by itself

    def all(self) -> Iterator[tuple[bytes, Awaited | Reading]]:
        """What it waits for."""
        yield from self.waiting.items()
        yield from self.readings.items()

    def fail(self, token: bytes, fault: Exception) -> None:
        """There is nothing to wait for any more."""
        if (awaited := self.waiting.pop(token, None)) is not None:
            awaited.fail(fault)
        elif (reading := self.readings.get(token)) is not None:
            reading.fail(fault)

    def fail_all(self, fault: Exception, *, of: Callable[[Awaited | Reading], bool] | None = None) -> None:
        """There is nothing to wait for any more, of all or of some."""
        for token in [token for token, one in self.all() if of is None or of(one)]:
            self.fail(token, fault)

    def given_up(self) -> dict[bytes, list[bytes]]:
        """Forget those that nobody waits for any more; which node works on them, as far as that is known."""
        unwanted = {token: awaited for token, awaited in self.waiting.items() if awaited.reply.cancelled()}
        for token in unwanted:
            del self.waiting[token]
        return _by_peer(iter(unwanted.items()))

    def close(self) -> None:
        """No time has to be watched."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._nearest, self._loop = None, FOREVER, None

    def told(self, peer: bytes, tokens: list[bytes]) -> list[bytes]:
        """Another node works on these; those that nobody waits for."""
        unknown: list[bytes] = []
        for token in tokens:
            if (one := self.waiting.get(token) or self.readings.get(token)) is not None:
                one.peer = peer
            else:
                unknown.append(token)
        return unknown

    def by_peer(self) -> dict[bytes, list[bytes]]:
        """Which node works on what."""
        return _by_peer(self.all())

    def reconcile(self, peer: bytes, serves: list[bytes], *, before: float) -> None:
        """What a peer does not work on any more, and what it was asked `before`, has been answered to nobody."""
        there = set(serves)
        fault = Unavailable("its answer was lost on the way")
        lost = [token for token, one in self.all() if one.peer == peer and one.since < before and token not in there]
        for token in lost:
            self.fail(token, fault)

    def overdue(self) -> None:
        """What nobody said that he works on got lost, or whoever took it has died."""
        before = self._monotonic() - self._silence
        old: list[tuple[bytes, Awaited | Reading]] = []
        for items in (self.waiting.items(), self.readings.items()):
            old += itertools.takewhile(lambda item: item[1].since < before, items)  # as they were asked in this order
        for token, one in old:
            if not one.peer:
                self.fail(token, Unavailable(f"whoever took {one.address} has said nothing for {self._silence:g} s"))

    def _wait_for(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._nearest = deadline
        delay = max(TICK_SECONDS, deadline - self._monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer, self._nearest = None, FOREVER
        now = self._monotonic()
        for token in [token for token, awaited in self.waiting.items() if awaited.deadline <= now]:
            self.fail(token, DeadlineExceeded(self.waiting[token].address))
        nearest = min((awaited.deadline for awaited in self.waiting.values()), default=FOREVER)
        if nearest < FOREVER:
            self._wait_for(nearest)


def _by_peer(items: Iterator[tuple[bytes, Awaited | Reading]]) -> dict[bytes, list[bytes]]:
    tokens: dict[bytes, list[bytes]] = {}
    for token, one in items:
        if one.peer:
            tokens.setdefault(one.peer, []).append(token)
    return tokens


def _too_many() -> Overloaded:
    return Overloaded(f"the limit of {ASKED_MAX} requests at once")
