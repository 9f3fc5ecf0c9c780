"""What a node waits for: answers and items, each under a token, until they come, nobody can send them, or time is up.

One timer waits for the nearest deadline: one per call would cost as much as the call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import final

import msgspec

from hanse.kernel.faults import DeadlineExceeded, Overloaded, Unavailable
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.kernel.message import Message

ASKED_MAX = 100_000
"""Requests and streams that one node waits for at once."""

FOREVER = float("inf")


@final
class Answer(msgspec.Struct, eq=False):
    """A request that waits. A struct, as one is made for each.

    Attributes:
        address: What was asked.
        id: Of the message.
        since: When it was asked.
        deadline: Second on the host's monotonic clock.
        reply: The answer, or why there is none.
        peer: Who works on it, once that is known.
    """

    address: str
    id: str
    since: float
    deadline: float
    reply: asyncio.Future[Message]
    peer: bytes = b""

    def fail(self, fault: Exception) -> None:
        """There will be no answer."""
        if not self.reply.done():
            self.reply.set_exception(fault)

    def leave(self) -> None:
        """Nobody waits for it, and nobody is to be told that he should have."""
        if not self.reply.cancel() and not self.reply.cancelled():
            _ = self.reply.exception()


@final
class Reading:
    """A stream that is read: what has come, in order, and who waits for it.

    Attributes:
        address: What was asked.
        since: When it was asked.
        peer: Who makes the items, once that is known.
        deadline: Streams end at theirs where they are made.
    """

    __slots__ = ("address", "deadline", "fault", "items", "next", "peer", "since", "waiter")

    def __init__(self, address: str, since: float) -> None:
        self.address: str = address
        self.since: float = since
        self.deadline: float = FOREVER
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
    """All that one node waits for, by token."""

    def __init__(self, host: Host, silence: float) -> None:
        """Wait for nothing yet.

        Args:
            host: Its clock tells when time is up.
            silence: Seconds after which what nobody said that he works on has got lost.
        """
        self.waiting: dict[bytes, Answer | Reading] = {}
        self._host = host
        self._monotonic = host.monotonic
        self._silence = silence
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._nearest = FOREVER
        self._loop: asyncio.AbstractEventLoop | None = None  # to ask for it is as dear as a message

    def answer(self, message: Message) -> tuple[bytes, Answer]:
        """Wait for an answer. Raises `Overloaded`."""
        if len(self.waiting) >= ASKED_MAX:
            raise _too_many()
        if (loop := self._loop) is None:
            loop = self._loop = asyncio.get_running_loop()
        now, timeout = self._monotonic(), message.timeout
        deadline = now + timeout if timeout else FOREVER
        answer = Answer(message.address, message.id, now, deadline, loop.create_future())
        # As `_token`, written out: this is on the way of every call.
        self._count = count = self._count + 1
        token = b"%d" % count
        self.waiting[token] = answer
        if deadline < self._nearest:
            self._wait_for(deadline)
        return token, answer

    def reading(self, message: Message) -> tuple[bytes, Reading]:
        """Wait for items. Raises `Overloaded`."""
        reading = Reading(message.address, self._host.monotonic())
        return self._token(reading), reading

    def fail(self, fault: Exception, *, of: Callable[[Answer | Reading], bool] | None = None) -> None:
        """There is nothing to wait for any more, of all or of some."""
        for waiting in list(self.waiting.values()):
            if of is None or of(waiting):
                waiting.fail(fault)

    def close(self) -> None:
        """No time has to be watched."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._nearest, self._loop = None, FOREVER, None

    def told(self, peer: bytes, tokens: list[bytes]) -> list[bytes]:
        """Another node works on these; those that nobody waits for."""
        unknown: list[bytes] = []
        for token in tokens:
            if (waiting := self.waiting.get(token)) is not None:
                waiting.peer = peer
            else:
                unknown.append(token)
        return unknown

    def by_peer(self) -> dict[bytes, list[bytes]]:
        """Which node works on what."""
        tokens: dict[bytes, list[bytes]] = {}
        for token, waiting in self.waiting.items():
            if waiting.peer:
                tokens.setdefault(waiting.peer, []).append(token)
        return tokens

    def reconcile(self, peer: bytes, serves: list[bytes], *, before: float) -> None:
        """What a peer does not work on any more, and what it was asked `before`, has been answered to nobody."""
        there = set(serves)
        fault = Unavailable("its answer was lost on the way")
        for token, waiting in self.waiting.items():
            if waiting.peer == peer and waiting.since < before and token not in there:
                waiting.fail(fault)

    def overdue(self) -> None:
        """What nobody said that he works on got lost, or whoever took it has died."""
        before = self._host.monotonic() - self._silence
        for waiting in self.waiting.values():
            if waiting.since >= before:
                break  # in the order in which they were asked
            if not waiting.peer:
                waiting.fail(Unavailable(f"whoever took {waiting.address} has said nothing for {self._silence:g} s"))

    def _token(self, waiting: Answer | Reading) -> bytes:
        if len(self.waiting) >= ASKED_MAX:
            raise _too_many()
        self._count += 1
        token = b"%d" % self._count
        self.waiting[token] = waiting
        return token

    def _wait_for(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._nearest = deadline
        delay = max(TICK_SECONDS, deadline - self._host.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer, self._nearest = None, FOREVER
        now = self._host.monotonic()
        nearest = FOREVER
        for waiting in self.waiting.values():
            if waiting.deadline <= now:
                waiting.fail(DeadlineExceeded(waiting.address))
            else:
                nearest = min(nearest, waiting.deadline)
        if nearest < FOREVER:
            self._wait_for(nearest)


def _too_many() -> Overloaded:
    return Overloaded(f"the limit of {ASKED_MAX} requests at once")
