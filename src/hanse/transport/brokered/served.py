"""What a node works on for others, until it has answered, or nobody wants it any more.

Streams have a task each. Calls that come one after the other to one address, under the same headers, in one turn of the
loop, are a lot: workers handle it, one call after the other as long as none waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import Malformed, Overloaded, UnknownOperation
from hanse.kernel.message import REPLY as REPLY_KIND, STREAM, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer, Receiver, body_of, whole
from hanse.transport.brokered.frames import (
    BEGUN,
    INDEX_BYTES,
    ITEM,
    MESSAGE,
    REFUSED,
    REPLY,
    UNREADABLE,
    Refusal,
    decode_rest,
    encode,
    head_in,
    later,
    rest_in,
)
from hanse.transport.brokered.post import Post, Subjects, room
from hanse.transport.brokered.replies import DROPPED, Replies
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
    """One thing that has a task of its own.

    Attributes:
        pace: Of its items, where it is answered with items.
        task: What does it.
    """

    pace: Pace | None = None
    task: asyncio.Task[None] | None = None


@final
class Served:
    """All that one node works on for others.

    Attributes:
        receivers: Who serves what here: see `listen`.
        works: By the subject at which each is answered, in the order in which they came; calls as the lot they are of.
        watched: Whether somebody will look soon at what has begun.
    """

    def __init__(
        self, connection: Post, names: Subjects, begun: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        """Work on nothing yet.

        Args:
            connection: What answers go through.
            names: Whom subjects belong to.
            begun: Told when something comes, unless it is `watched` already.
            clock: Tells the second, of those from which deadlines count.
        """
        self.receivers: dict[str, Receiver] = {}
        self._handlers: dict[str, Callable[[str], Handle]] = {}
        self.works: dict[bytes, Work | Lot[bytes]] = {}
        self.open: bool = False
        self.watched: bool = False
        self._connection = connection
        self._names = names
        self._begun = begun
        self._clock = clock
        self._headers_of = KnownHeaders().of
        self._tasks = Tasks(_broken, limit=SERVED_MAX)
        self._workers: Workers | None = None
        self._replies = Replies(connection, names, self.works.pop, self._tell, self._tell_body)
        # Lots of this turn of the loop, and of the last one, which may become larger: where it was asked, how that
        # began.
        self._lots: list[Lot[bytes]] = []
        self._last: Lot[bytes] | None = None
        self._subject = self._head = b""
        self._start = 0

    def listen(self, service: str, receiver: Receiver) -> bool:
        """Have a service's requests handled; False where somebody else does that already."""
        if self.receivers.setdefault(service, receiver) is not receiver:
            return False
        self._handlers[service] = handlers_of(receiver)
        return True

    def leave(self, service: str) -> bool:
        """Handle no more of its requests; whether any were."""
        self._last = None
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
        last, works = self._last, self.works
        if (
            last is None
            or not payload.startswith(self._head)
            or subject != self._subject
            or not reply
            or reply in works
            or len(works) >= SERVED_MAX
            or not self.open
        ):
            self._take(subject, reply, payload, age)
            return
        try:
            id, timeout, body = decode_rest(payload[self._start :])
        except UNREADABLE:
            self._take(subject, reply, payload, age)  # says why
        else:
            if age and timeout:
                if timeout <= age:
                    return  # see `_take`
                timeout -= age
            last.asks.append((reply, id, timeout, body))
            works[reply] = last

    def _take(self, subject: bytes, reply: bytes, payload: bytes, age: float) -> None:
        """Take any request."""
        if not reply:
            return  # nobody of ours asks so; whatever it is, its sender does not want to know
        try:
            head, message = self._message(subject, payload)
        except (Malformed, UnknownOperation) as fault:
            _log.warning("a request at %s was refused: %s", subject.decode(errors="replace"), fault.detail)
            self.refuse(reply, Refusal("unreadable", f"the request cannot be read there: {fault.detail}"))
            return
        if 0.0 < message.timeout <= age:
            return  # whoever asked has been told that its time is up
        lot = self._accept(reply, later(message, age) if age else message)
        headers = message.headers
        if lot is not None and not headers.tags and not headers.extra:  # what a handler could write into is not for two
            self._last, self._subject, self._head, self._start = lot, subject, head, len(head)

    def _message(self, subject: bytes, payload: bytes) -> tuple[bytes, Message]:
        """How a frame begins, and the message in it. Raises `Malformed` and `UnknownOperation`."""
        head, (kind, address, encoded) = head_in(payload)
        # Who may call what is the broker's to say, by the subject; what a message says must not get around that.
        if self._names.call(address) != subject:
            raise Malformed(f"it is for {address[:100]!r}")
        id, timeout, body = rest_in(payload, len(head))
        try:
            return head, Message(kind, id, address, timeout, self._headers_of(encoded), body)
        except UNREADABLE as error:
            raise Malformed(f"expected headers of Hanse's: {error}") from None

    def _accept(self, reply: bytes, message: Message) -> Lot[bytes] | None:
        """Work on a request, or say why not; the lot that it begins, if it does."""
        service = message.address.rpartition(".")[0]  # `service_of`, on the way of many calls
        receiver = self.receivers.get(service)
        if receiver is None:
            self.refuse(reply, Refusal("elsewhere"))
        elif (refusal := self.refusal(reply)) is not None:
            self.refuse(reply, refusal)
        elif message.kind is STREAM:
            self._begin()  # what came before it begins before it
            pace = Pace()
            self.start(reply, Work(pace), self._items(reply, receiver.serve_stream(message), pace))
        else:
            if not self._lots:
                _ = asyncio.get_running_loop().call_soon(self._begin)
            asks = [(reply, message.id, message.timeout, message.body)]
            handle = self._handlers[service](message.address)
            lot = Lot(self._replies, message.kind, message.address, message.headers, self._clock(), asks, handle)
            self._lots.append(lot)
            self.works[reply] = lot
            if not self.watched:
                self._begun()
            return lot
        return None

    def _begin(self) -> None:
        """Have workers handle what has come."""
        lots = [lot for lot in self._lots if lot.asks]  # of others, all was cancelled meanwhile
        self._lots, self._last = [], None
        if not lots:
            return
        if not self.watched:
            self._begun()  # whoever watched has looked before all had come
        if self._workers is None:
            self._workers = Workers(self._tasks)
        for lot in lots:
            lot.asks.reverse()  # the last is the next
            self._workers.put(lot)

    def refusal(self, reply: bytes) -> Refusal | None:
        """Why nothing more is worked on; None if something may."""
        if not self.open:
            return Refusal("elsewhere")
        if len(self.works) >= SERVED_MAX or reply in self.works:
            return Refusal("busy", f"the limit of {SERVED_MAX} requests at once")
        return None

    def start(self, reply: bytes, work: Work, run: Coroutine[object, object, None]) -> None:
        """Work on something; whatever does it calls `ended` in the end.

        Args:
            reply: Where it is answered.
            work: What it is.
            run: What does it.
        """
        self.works[reply] = work
        try:
            work.task = self._tasks.start(run)
            work.task.add_done_callback(partial(self._over, reply, work))
        except Overloaded as fault:
            self.refuse(reply, Refusal("busy", fault.limit))
            self.ended(reply)
        if not self.watched:
            self._begun()

    def ended(self, reply: bytes) -> None:
        """It has been worked on."""
        del self.works[reply]

    def _over(self, reply: bytes, work: Work, task: asyncio.Task[None]) -> None:
        """Also what was cancelled before it began is over."""
        del task
        if self.works.get(reply) is work:
            self.ended(reply)

    def cancel(self, peer: bytes, tokens: Iterable[bytes]) -> None:
        """A node does not wait for these any more."""
        inbox = self._names.inbox(peer)
        self._cancel(inbox + token for token in tokens)

    def more(self, peer: bytes, token: bytes, count: int) -> None:
        """A node took some items."""
        work = self.works.get(self._names.inbox(peer) + token)
        if isinstance(work, Work) and work.pace is not None:
            work.pace.taken(count)

    def drop(self, peer: bytes) -> None:
        """Cancel what is worked on for a node, which has gone."""
        inbox = self._names.inbox(peer)
        self._cancel([reply for reply in self.works if reply.startswith(inbox)])

    def drop_streams(self) -> None:
        """Cancel what is answered with items, of which some were lost."""
        streams = [reply for reply, work in self.works.items() if isinstance(work, Work) and work.pace is not None]
        self._cancel(streams)

    async def end(self) -> None:
        """Give up all that is worked on, and say so to those who wait for it."""
        self._replies.tell()
        replies = list(self.works)
        for reply in replies:
            self.refuse(reply, _CLOSING)
        self._cancel(replies)
        await self._tasks.cancel()
        self._replies.tell()
        self._begin()  # nothing: what has not begun was cancelled
        self._workers = None

    def _cancel(self, replies: Iterable[bytes]) -> None:
        """Nobody wants these any more."""
        waiting: dict[Lot[bytes], set[bytes]] = {}
        tasks = {worker.key: worker.task for worker in self._replies.working}
        for reply in replies:
            work = self.works.get(reply)
            task = work.task if isinstance(work, Work) else tasks.get(reply)
            if task is not None:
                _ = task.cancel()
            elif isinstance(work, Lot):
                waiting.setdefault(work, set()).add(reply)
        for lot, unwanted in waiting.items():
            # Those that are not in it have been handled, and are about to be told.
            for reply in [ask[0] for ask in lot.asks if ask[0] in unwanted]:
                self.ended(reply)
            lot.asks[:] = [ask for ask in lot.asks if ask[0] not in unwanted]

    def refuse(self, reply: bytes, refusal: Refusal) -> None:
        """Answer that there is no answer."""
        _ = self._connection.publish(reply, b"", encode(refusal), REFUSED)

    def _tell(self, reply: bytes, message: Message, answer: Answer | None) -> None:
        """Tell what a call came to, whatever that is."""
        body = body_of(answer, message)
        if answer is None:
            self.refuse(reply, Refusal("closing", f"whoever serves {message.address} failed, or was ended"))
        elif body is not None and len(body) <= self._connection.body_bytes_max:
            self._answer(reply, body, REPLY)
        elif (payload := self._payload(reply, whole(answer, message))) is not None:
            self._answer(reply, payload, MESSAGE)

    def _tell_body(self, reply: bytes, body: bytes) -> None:
        """The same for the body of an answer."""
        if len(body) <= self._connection.body_bytes_max:
            self._answer(reply, body, REPLY)
        else:
            limit = self._connection.over(Message(REPLY_KIND, "", "", body=body), len(body))
            self.refuse(reply, Refusal("too_large", limit or f"{self._connection.body_bytes_max} bytes"))

    def _answer(self, reply: bytes, payload: bytes, lead: bytes) -> None:
        """Tell an answer, at once where there is room."""
        if not self._connection.has_room(payload):
            self._answer_later(reply, payload, lead)
        elif not self._connection.publish(reply, b"", payload, lead):
            _log.warning(DROPPED)

    def _answer_later(self, reply: bytes, payload: bytes, lead: bytes = REPLY) -> None:
        """What was done must not go unanswered as others say much."""

        async def answer() -> None:
            try:
                await room(self._connection, payload)
                if not self._connection.publish(reply, b"", payload, lead):
                    _log.warning(DROPPED)
            finally:
                self.ended(reply)

        self.start(reply, Work(), answer())

    async def _items(self, address: bytes, items: AsyncIterator[Message], pace: Pace) -> None:
        index = 0
        try:
            _ = self._connection.publish(address, b"", self._names.node, BEGUN)
            async with closing(items) as replies:
                async for reply in replies:
                    await pace.room()
                    await self._connection.writable()
                    await room(self._connection, reply.body)
                    payload = self._payload(address, reply)
                    if payload is None:
                        return
                    if not self._connection.publish(address, b"", payload, ITEM + index.to_bytes(INDEX_BYTES, "big")):
                        _log.warning(DROPPED)
                        return
                    index += 1
        except Exception:  # noqa: BLE001 - whoever asked must not wait for one that broke
            _log.exception("whoever makes items broke its promise never to raise")
            self.refuse(address, Refusal("closing", "whoever makes the items failed"))
        finally:
            self.ended(address)

    def _payload(self, reply: bytes, message: Message) -> bytes | None:
        """An answer as it is told; None where it cannot be, which is told instead."""
        payload = encode(message)
        size = len(payload)
        if size > self._connection.body_bytes_max and (limit := self._connection.over(message, size)):
            self.refuse(reply, Refusal("too_large", limit))
            return None
        return payload


def _broken(error: BaseException) -> None:
    _log.error("whoever serves broke its promise never to raise", exc_info=error)
