"""What is handled one after the other: the messages that came together, and the worker that has its turn with them.

What many messages have in common is decided once for all of them: who asked, where, under which headers, and what
handles them. A receiver that knows lots handles one in one coroutine; any other is asked for each message.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar, final, runtime_checkable

import msgspec

from hanse.kernel.context import Context
from hanse.kernel.message import Headers, Kind, Message
from hanse.transport.base import Answer, Receiver

Key = TypeVar("Key", bound=Hashable)
Key_contra = TypeVar("Key_contra", bound=Hashable, contravariant=True)


class Asker(Protocol[Key_contra]):
    """Somebody for whom messages are handled, each under a key, such as a number."""

    working: dict[Worker, None]
    """The workers that handle messages at the moment, each one of them: see `Worker.key`."""

    @property
    def told(self) -> Callable[[Key_contra, bytes], object]:
        """Told the body of an answer, of which there is no more to say, as a message was handled."""
        ...

    def handled(self, key: Key_contra, message: Message, answer: Answer | None, /) -> None:
        """A message was handled, or its task was cancelled, and there is no answer."""
        ...


class Lot(msgspec.Struct, Generic[Key], eq=False):
    """Messages that have all in common but an id, a timeout and a body. A struct, as many are made.

    Attributes:
        asker: Who is told of each.
        kind, address, headers: Those of all.
        came: Second on the host's clock at which they came; 0 for the moment at which they begin.
        asks: Key, id, timeout and body of those that have not begun; the last is the next.
        handle: Handles them.
    """

    asker: Asker[Key]
    kind: Kind
    address: str
    headers: Headers
    came: float
    asks: list[tuple[Key, str, float, bytes]]
    handle: Handle


@final
class Worker:
    """A task that handles messages, as those see it.

    Attributes:
        task: That task.
        variables: Its context variables, as they are at the moment.
        clean: As they were before anything was handled.
        key: That of the message that it handles, where it is among those who work for its asker.
        context: What it handles that in, where it is among those who work for a server.
    """

    # What is looked up seldom, such as who is to be cancelled, stands here: to note each message costs as much as it.
    __slots__ = ("clean", "context", "key", "task", "variables")

    def __init__(self, task: asyncio.Task[Any], variables: contextvars.Context, clean: contextvars.Context) -> None:
        self.task: asyncio.Task[Any] = task
        self.variables: contextvars.Context = variables
        self.clean: contextvars.Context = clean
        self.key: Hashable = None
        self.context: Context | None = None

    @property
    def fit(self) -> bool:
        """Whether another message may be handled: no variable and no cancellation that was swallowed reaches it."""
        try:
            return self.variables == self.clean and not self.task.cancelling()
        except Exception:  # noqa: BLE001 - values of others are compared, and may not be comparable
            return False


Handle = Callable[[Lot[Any], Worker], Awaitable[None]]
"""Handles what has not begun of a lot, at least one message, one after the other, until its worker is not fit for more;
tells the lot's asker of each. It raises nothing but its cancellation."""


@runtime_checkable
class Handles(Protocol):
    """A receiver that tells what handles the messages of an address, so that who has many asks once for all."""

    def handler(self, address: str, /) -> Handle:
        """What handles those that have come by now; for those that come later it may be another."""
        ...


def handlers_of(receiver: Receiver) -> Callable[[str], Handle]:
    """What handles the messages of an address, of any receiver."""
    if isinstance(receiver, Handles):
        return receiver.handler
    handle = one_by_one(receiver.serve)

    def handler(address: str) -> Handle:
        del address
        return handle

    return handler


def one_by_one(serve: Callable[[Message], Awaitable[Message]]) -> Handle:
    """Handle a lot by what serves one message."""

    async def handle(lot: Lot[Any], worker: Worker) -> None:
        asker = lot.asker
        while lot.asks and worker.fit:
            key, id, timeout, body = lot.asks.pop()
            worker.key = key
            message, answer = Message(lot.kind, id, lot.address, timeout, lot.headers, body), None
            asker.working[worker] = None
            try:
                answer = await serve(message)
            finally:
                del asker.working[worker]
                asker.handled(key, message, answer)

    return handle
