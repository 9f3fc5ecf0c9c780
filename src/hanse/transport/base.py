"""The port to a transport: it moves messages, and decides nothing.

Promises of every transport:
- `request` ends with exactly one reply or fault message, or raises `Unavailable`, `UnknownOperation` (nobody serves the
  address; known at once) or `DeadlineExceeded` (the message's `timeout` is over).
- Requests run side by side; one that waits blocks no other, and a handler may call back to where it was called from.
- Cancelling a `request` or closing a `stream` reaches the handler.
- A stream's items come in order, and no faster than they are taken.
- What one sender sends to one instance under one key comes there in the order in which it was sent.
- An answer that is larger than a message may be is a fault at the caller.
- A transport that was closed, or never opened, may be closed again.
What transports promise stands as tests in `hanse.testing.transport`.
Event delivery needs no verb of its own here: a relay requests `on/<group>` and the reply acknowledges. Transports that
keep events by themselves (`Features.durable`) are `Keeps` too: then a publisher needs not know who subscribes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from hanse.kernel.message import CALL, NO_HEADERS, REPLY, Headers, Message
from hanse.transport.discovery import Announcement

UNDONE = "hanse-undone"
"""The header of a refusal by a node that has done nothing: it stops, or does not have the operation."""


RELEASE = "@"
"""Stands in an address between a service and the one release of it that is meant: `orders@1.5.place`."""


class Features(msgspec.Struct, frozen=True):
    """What transports may differ in.

    Attributes:
        durable: Keeps published events by itself until each group has acknowledged them: it is `Keeps`.
        balances: Chooses among instances by itself; otherwise the mesh does. A release is then served under a name of
            its own, such as `orders@1.5`: where nobody serves that, `request` says so at once, by `NotSent` or
            `UnknownOperation`.
        bytes_max: Of one message's body; a larger one is refused with `TooLarge` before anything is sent. 0 for no
            limit of its own.
        local: Within one process only: a request runs in the task of its caller, so it ends when its server ends it,
            also after the transport was closed; and of each service there is one instance.
    """

    durable: bool
    balances: bool
    bytes_max: int = 0
    local: bool = False


class Receiver(Protocol):
    """Whoever serves messages: the mesh's server. It never raises but for cancellation."""

    def serve(self, message: Message, /) -> Awaitable[Message]:
        """Handle one message; its reply, fault or acknowledgement."""
        ...

    def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """Handle one message that wants items, an end or a fault."""
        ...


Answer = Message | bytes
"""What a message came to: the body of a reply that says nothing else, or a whole message."""


def whole(answer: Answer, message: Message) -> Message:
    """An answer as a message: that to this one."""
    return Message(REPLY, message.id, "", 0.0, NO_HEADERS, answer) if isinstance(answer, bytes) else answer


Call = Callable[[str, float, Headers, bytes], Awaitable[Answer]]
"""Calls one operation: its id (ASCII), seconds that there are (0 for no limit), headers, encoded arguments."""


def by_message(ask: Callable[[Message], Awaitable[Answer]], address: str) -> Call:
    """How to call an operation where whole messages are asked."""

    def call(id: str, timeout: float, headers: Headers, body: bytes) -> Awaitable[Answer]:
        return ask(Message(CALL, id, address, timeout, headers, body))

    return call


def body_of(answer: Answer | None, message: Message) -> bytes | None:
    """The body of an answer to a message; None where there is more to say, or nothing."""
    if not isinstance(answer, Message):
        return answer
    says_more = answer.kind is not REPLY or answer.headers is not NO_HEADERS or answer.address
    return None if says_more or answer.id != message.id else answer.body


class Transport(Protocol):
    """Moves messages to whoever serves the first part of their address."""

    @property
    def features(self) -> Features:
        """What this transport can do."""
        ...

    async def open(self) -> None:
        """Get ready. Raises `CouldNotStart`."""
        ...

    async def close(self) -> None:
        """Let go; requests under way end with `Unavailable`."""
        ...

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """Serve `service.*` from now on."""
        ...

    def leave(self, service: str, /) -> None:
        """Serve it no more; what is under way goes on."""
        ...

    def request(self, message: Message, /) -> Awaitable[Message]:
        """Send a call, an event or a note to its address, and wait for the one answer."""
        ...

    def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """Send a call that is answered by items; ends with an END or FAULT message."""
        ...


@runtime_checkable
class AsksAtOnce(Protocol):
    """A transport that can be called without a coroutine of its own, which costs as much as a message."""

    def calling(self, address: str, /) -> Call:
        """How to call `service.operation`: as by `request`, but who is cancelled as it waits has to say `given_up`."""
        ...

    def given_up(self) -> None:
        """Somebody who waited was cancelled: the handler is told, as after a `request` that is cancelled."""
        ...


@runtime_checkable
class TellsTrouble(Protocol):
    """A transport that knows whether it can be used; whoever asks whether a node is ready asks it."""

    def trouble(self) -> str:
        """What keeps messages from being moved at this moment, such as a lost broker; empty where nothing does."""
        ...


@runtime_checkable
class Drains(Protocol):
    """A transport that can tell others to send no more calls, before it leaves."""

    def drain(self) -> None:
        """Have others ask elsewhere where they can; what comes is still served."""
        ...


@runtime_checkable
class KnowsNodes(Protocol):
    """A transport that knows which nodes there are."""

    async def nodes(self) -> list[Announcement]:
        """What each says of itself, as far as it can be heard of; this one too.

        Raises:
            Unavailable: They cannot be asked.
        """
        ...


class Kept(msgspec.Struct, frozen=True):
    """An event that a broker has kept, and hands to a group.

    Attributes:
        number: Grows from one to the next that a backlog hands out.
        message: As it was published: the same id each time.
    """

    number: int
    message: Message


class Backlog(Protocol):
    """What a broker keeps for one group of subscribers.

    Of all that have it open, one at a time is handed its events, so that their order can be kept; the others wait until
    that one has closed it, died, or not been heard of for a few seconds. They come in the order in which they were
    published; who takes over is handed first, and in order, what was not acknowledged.
    """

    async def take(self, count: int) -> list[Kept]:
        """The next events, at least one and at most `count`; waits for them, and for its turn.

        Raises:
            Unavailable: It has lost its turn, or the broker. What was handed out and not acknowledged is handed out
                again, to whoever is next: close this one, and open another.
        """
        ...

    def done(self, kept: Kept) -> None:
        """Acknowledge an event, whichever comes first: the group has handled it.

        Where that is lost with a connection, `take` tells so, and the event comes again.
        """
        ...

    async def close(self) -> None:
        """Let go, once what was acknowledged has reached the broker or that is gone; harmless when asked again.

        Somebody else may go on at once.
        """
        ...


@runtime_checkable
class TellsLeft(Protocol):
    """A backlog that can tell how much is left in it; whoever waits until all is handled asks it."""

    async def left(self) -> int:
        """Events for its group that are not acknowledged, whoever they were handed to.

        Raises:
            Unavailable: It is lost, or the broker does not answer.
        """
        ...


@runtime_checkable
class Keeps(Protocol):
    """A transport that keeps events until each group that subscribes to them has acknowledged them."""

    async def publish(self, messages: Sequence[Message], /) -> None:
        """Have events kept, in this order, each under its `headers.type`, for all groups that subscribe or will.

        When it returns, no crash of a process loses them. What is published again under its id within ten minutes is
        kept once, at its first place.

        Raises:
            Unavailable: Nobody knows whether all are kept, but if one is, so are those before it: publish all again.
            TooLarge: One of them is larger than the broker takes; none is kept.
        """
        ...

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        """Open the backlog of a group; a new group begins with the oldest event that is kept.

        Args:
            group: Its name: any text.
            topics: Types of events that it wants; others than last time replace those.

        Raises:
            Unavailable: The broker cannot be reached.
            Misconfigured: The broker may not be trusted with events, such as one that forgets them when it stops.
        """
        ...


def service_of(address: str) -> str:
    """The part of an address that says who serves it.

    Example:
        >>> service_of("orders.place"), service_of("rows/orders.get")
        ('orders', 'rows/orders')
    """
    return address.rpartition(".")[0]
