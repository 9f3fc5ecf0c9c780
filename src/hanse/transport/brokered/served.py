"""What a node works on for others, until it has answered, or nobody wants it any more.

Streams have a task each; calls have that of a worker, which handles one after the other as long as none waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import Malformed, Overloaded, UnknownOperation
from hanse.kernel.message import NO_HEADERS, REPLY as REPLY_KIND, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer, Receiver, whole
from hanse.transport.brokered.frames import (
    ASK,
    BEGUN,
    INDEX_BYTES,
    ITEM,
    MESSAGE,
    REFUSED,
    REPLY,
    Refusal,
    asked_in,
    encode,
    later,
)
from hanse.transport.brokered.post import Post, Subjects, room
from hanse.transport.headers import KnownHeaders
from hanse.transport.lot import Handle, Lot, handlers_of
from hanse.transport.workers import Workers

_log = logging.getLogger("hanse.transport.brokered")

SERVED_MAX = 50_000
"""Requests and streams that one node works on at once for others; its server has a limit of its own below that."""

AHEAD_MAX = 128
"""Items of a stream that are under way at once; the next waits until some were taken."""

TAKEN_TOLD = 32
"""Items that a reader takes until it says so, which makes room for as many more."""

_STREAM = Kind.STREAM  # to ask the enumeration for its member costs more than the comparison (CPython 3.11)
_DROPPED = "an answer was dropped: the broker is away for too long, or too slow"
_CLOSING = Refusal("closing", "whoever was asked is closing")


@final
class Pace:
    """How many more items of a stream may be under way."""

    __slots__ = ("_room", "_waiter")

    def __init__(self) -> None:
        self._room = AHEAD_MAX
        self._waiter: asyncio.Future[None] | None = None

    def taken(self, count: int) -> None:
        """The reader took some items."""
        # More than was sent cannot have been taken, whatever is said.
        self._room = min(AHEAD_MAX, self._room + max(0, count))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def room(self) -> None:
        """Wait until another item may be under way."""
        while self._room <= 0:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._room -= 1


@final
class Work(msgspec.Struct, eq=False):
    """One thing that is worked on. A struct, as one is made for each.

    Attributes:
        reply: Where it is answered, which tells who asked.
        pace: Of its items, where it is answered with items.
        lot: What a worker handles it from, where it is a call.
        told: Whether that node was told who works on it.
        task: What does it, where that is a task of its own.
    """

    reply: bytes
    pace: Pace | None
    lot: Lot[bytes] | None = None
    told: bool = False
    task: asyncio.Task[None] | None = None


@final
class Served:
    """All that one node works on for others.

    Attributes:
        receivers: Who serves what here: see `listen`.
        works: By the subject at which each is answered, in the order in which they came.
        running: Calls that workers handle: see `Asker.running`.
        watched: Whether somebody will look soon at what has begun.
    """

    def __init__(self, connection: Post, names: Subjects, begun: Callable[[], None]) -> None:
        """Work on nothing yet.

        Args:
            connection: What answers go through.
            names: Whom subjects belong to.
            begun: Told when something comes, unless it is `watched` already.
        """
        self.receivers: dict[str, Receiver] = {}
        self._handlers: dict[str, Callable[[str], Handle]] = {}
        self.works: dict[bytes, Work] = {}
        self.running: dict[bytes, asyncio.Task[Any]] = {}
        self.open: bool = False
        self.watched: bool = False
        self._connection = connection
        self._names = names
        self._begun = begun
        self._headers_of = KnownHeaders().of
        self._tasks = Tasks(_broken, limit=SERVED_MAX)
        self._workers: Workers | None = None

    def listen(self, service: str, receiver: Receiver) -> bool:
        """Have a service's requests handled; False where somebody else does that already."""
        if self.receivers.setdefault(service, receiver) is not receiver:
            return False
        self._handlers[service] = handlers_of(receiver)
        return True

    def leave(self, service: str) -> bool:
        """Handle no more of its requests; whether any were."""
        _ = self._handlers.pop(service, None)
        return self.receivers.pop(service, None) is not None

    def take(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes, age: float = 0.0) -> None:
        """A request came.

        Args:
            subject: Where it was sent to.
            reply: Where it is answered.
            payload: The frame.
            headers: Of the broker's, which mean nothing here.
            age: Seconds for which it has waited on its way.
        """
        del headers
        if not reply:
            return  # nobody of ours asks so; whatever it is, its sender does not want to know
        try:
            message = self._message(subject, payload)
        except (Malformed, UnknownOperation) as fault:
            _log.warning("a request at %s was refused: %s", subject.decode(errors="replace"), fault.detail)
            self.refuse(reply, Refusal("unreadable", f"the request cannot be read there: {fault.detail}"))
            return
        if age:
            if 0.0 < message.timeout <= age:
                return  # whoever asked has been told that its time is up
            message = later(message, age)
        self.accept(message, reply)

    def accept(self, message: Message, reply: bytes) -> None:
        """Work on a request, or say why not."""
        service = message.address.rpartition(".")[0]  # `service_of`, on the way of every call
        receiver = self.receivers.get(service)
        if receiver is None:
            self.refuse(reply, Refusal("elsewhere"))
        elif (refusal := self.refusal(reply)) is not None:
            self.refuse(reply, refusal)
        elif message.kind is _STREAM:
            pace = Pace()
            self.start(Work(reply, pace), self._items(reply, receiver.serve_stream(message), pace))
        else:
            if (workers := self._workers) is None:
                workers = self._workers = Workers(self._tasks)
            asks = [(reply, message.id, message.timeout, message.body)]
            handle = self._handlers[service](message.address)
            lot = Lot(self, message.kind, message.address, message.headers, 0.0, asks, handle)
            self.works[reply] = Work(reply, None, lot)
            workers.put(lot)
            if not self.watched:
                self._begun()

    def refusal(self, reply: bytes) -> Refusal | None:
        """Why nothing more is worked on; None if something may."""
        if not self.open:
            return Refusal("elsewhere")
        if len(self.works) >= SERVED_MAX or reply in self.works:
            return Refusal("busy", f"the limit of {SERVED_MAX} requests at once")
        return None

    def start(self, work: Work, run: Coroutine[object, object, None]) -> None:
        """Work on something; whatever does it calls `ended` in the end."""
        self.works[work.reply] = work
        try:
            work.task = self._tasks.start(run)
            work.task.add_done_callback(partial(self._over, work))
        except Overloaded as fault:
            self.refuse(work.reply, Refusal("busy", fault.limit))
            self.ended(work.reply)
        if not self.watched:
            self._begun()

    def ended(self, reply: bytes) -> None:
        """It has been worked on."""
        del self.works[reply]

    def _over(self, work: Work, task: asyncio.Task[None]) -> None:
        """Also what was cancelled before it began is over."""
        del task
        if self.works.get(work.reply) is work:
            self.ended(work.reply)

    def cancel(self, peer: bytes, tokens: list[bytes]) -> None:
        """A node does not wait for these any more."""
        inbox = self._names.inbox(peer)
        for token in tokens:
            if (work := self.works.get(inbox + token)) is not None:
                self._cancel(work)

    def more(self, peer: bytes, token: bytes, count: int) -> None:
        """A node took some items."""
        work = self.works.get(self._names.inbox(peer) + token)
        if work is not None and work.pace is not None:
            work.pace.taken(count)

    def drop(self, which: Callable[[Work], bool]) -> None:
        """Cancel some of what is worked on."""
        for work in list(self.works.values()):
            if which(work):
                self._cancel(work)

    async def end(self) -> None:
        """Give up all that is worked on, and say so to those who wait for it."""
        for work in list(self.works.values()):
            self.refuse(work.reply, _CLOSING)
            self._cancel(work)
        await self._tasks.cancel()
        self._workers = None

    def _cancel(self, work: Work) -> None:
        """Nobody wants it any more."""
        task = work.task or self.running.get(work.reply)
        if task is not None:
            _ = task.cancel()
        elif work.lot is not None and work.lot.asks:  # it has not begun
            work.lot.asks.clear()
            self.ended(work.reply)

    def refuse(self, reply: bytes, refusal: Refusal) -> None:
        """Answer that there is no answer."""
        _ = self._connection.publish(reply, b"", encode(refusal), REFUSED)

    def _message(self, subject: bytes, payload: bytes) -> Message:
        if not payload.startswith(ASK):
            raise Malformed(f"expected a frame that begins with {ASK!r}, got {payload[:1]!r}")
        message = asked_in(payload, self._headers_of)
        # Who may call what is the broker's to say, by the subject; what a message says must not get around that.
        if self._names.call(message.address) != subject:
            raise Malformed(f"it is for {message.address[:100]!r}")
        return message

    def handled(self, address: bytes, message: Message, answer: Answer | None, /) -> None:
        """See `Asker.handled`."""
        del self.works[address]
        if answer is None:
            self.refuse(address, Refusal("closing", f"whoever serves {message.address} failed, or was ended"))
            return
        reply = whole(answer, message)
        if self._connection.has_room(reply.body):
            self._answer(address, message, reply)
        else:
            # What was done must not go unanswered as others say much.
            self.start(Work(address, None), self._answer_later(address, message, reply))

    async def _answer_later(self, address: bytes, message: Message, reply: Message) -> None:
        try:
            await room(self._connection, reply.body)
            self._answer(address, message, reply)
        finally:
            self.ended(address)

    def _answer(self, address: bytes, message: Message, reply: Message) -> None:
        plain = reply.kind is REPLY_KIND and reply.headers is NO_HEADERS and reply.id == message.id
        if plain and not reply.address and len(reply.body) <= self._connection.body_bytes_max:
            if not self._connection.publish(address, b"", reply.body, REPLY):
                _log.warning(_DROPPED)
        else:
            _ = self._say(address, MESSAGE, reply)

    async def _items(self, address: bytes, items: AsyncIterator[Message], pace: Pace) -> None:
        index = 0
        try:
            _ = self._connection.publish(address, b"", self._names.node, BEGUN)
            async with closing(items) as replies:
                async for reply in replies:
                    await pace.room()
                    await self._connection.writable()
                    await room(self._connection, reply.body)
                    if not self._say(address, ITEM + index.to_bytes(INDEX_BYTES, "big"), reply):
                        return
                    index += 1
        except Exception:  # noqa: BLE001 - whoever asked must not wait for one that broke
            _log.exception("whoever makes items broke its promise never to raise")
            self.refuse(address, Refusal("closing", "whoever makes the items failed"))
        finally:
            self.ended(address)

    def _say(self, address: bytes, lead: bytes, message: Message) -> bool:
        """Answer something; False where that cannot be told."""
        payload = encode(message)
        if len(payload) > self._connection.body_bytes_max and (limit := self._connection.over(message, payload)):
            self.refuse(address, Refusal("too_large", limit))
            return False
        if not self._connection.publish(address, b"", payload, lead):
            _log.warning(_DROPPED)
            return False
        return True


def _broken(error: BaseException) -> None:
    _log.error("whoever serves broke its promise never to raise", exc_info=error)
