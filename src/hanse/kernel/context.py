"""The context of a piece of work: who asks, how long there is, what it belongs to, and the host it runs on.

Every handler runs in a context of its own; whatever it calls inherits the headers and the deadline. Code deep in a
handler asks `current()` for it, so nothing has to be handed through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from hanse.kernel.faults import Misdeclared
from hanse.kernel.host import Host
from hanse.kernel.message import BACKGROUND, NO_HEADERS, Headers, Identity

FOREVER = float("inf")

NOWHERE = -FOREVER
"""The deadline of a context that nothing may be called from: the code of a saga, which calls in steps."""


class Work(Protocol):
    """What a handler wrote and emitted so far: it commits as one, or not at all."""

    async def commit(self) -> None:
        """Make it durable."""
        ...


class Context(msgspec.Struct, eq=False):
    """What one handler invocation knows about itself.

    Attributes:
        host: Clocks, randomness and ids.
        headers: Trace, identity, tags: what calls made from here carry on.
        deadline: Second on `host.monotonic` at which the caller stops waiting; infinity for never.
        message_id: Id of the message being handled; empty outside a handler.
        operation: `service.operation` being handled; empty outside a handler.
        store: The store whose unit of work the handler is; None where each write commits by itself.
        work: The handler's unit of work, made by the service layer at the first write.
        task: The task that runs the handler, for whoever has to end it.
        expired: How often it was cancelled for its deadline.
        again: Second on `host.monotonic` at which it is cancelled again, should it have swallowed that.
        rehearsal: Set where nothing of this work is to last: told the address of each call that it makes, and raises
            where that might change something. Handlers may look at it, before an effect that is outside of Hanse.
    """

    # A struct, since one is made per call and this is the fastest class there is; compared by identity.
    host: Host
    headers: Headers = NO_HEADERS
    deadline: float = FOREVER
    message_id: str = ""
    operation: str = ""
    store: object | None = None
    work: Work | None = None
    task: asyncio.Task[Any] | None = None
    expired: int = 0
    again: float = 0.0
    rehearsal: Callable[[str], None] | None = None

    @property
    def identity(self) -> Identity:
        """Who is asking."""
        return self.headers.identity

    @property
    def tags(self) -> dict[str, str]:
        """The business tags of this story; add one with `tag`."""
        return self.headers.tags

    @property
    def shadow(self) -> bool:
        """Whether this is for a copy of a request: what it writes is worked out, answered as if done, and dropped.

        What a handler does outside of Hanse cannot be held back: it asks for this before such an effect.
        """
        return self.headers.shadow

    def tag(self, **tags: str) -> None:
        """Add business tags, such as `tag(booking_ref="ABC123")`: they travel with every call and event from here.

        Raises:
            Misdeclared: There is no story: the code runs neither in a handler nor under `node.context()`.
        """
        if self is _SYSTEM:
            raise Misdeclared("tags belong to a story; add them in a handler, or under `with node.context():`")
        self.headers = msgspec.structs.replace(self.headers, tags={**self.headers.tags, **tags})

    def background(self) -> None:
        """Say that nobody waits for this work: what is called from here is the first to be refused by who is busy.

        Events, rules and schedules are such work by themselves.

        Raises:
            Misdeclared: There is no story: the code runs neither in a handler nor under `node.context()`.
        """
        if self is _SYSTEM:
            raise Misdeclared("a priority belongs to a story; set it in a handler, or under `with node.context():`")
        self.headers = msgspec.structs.replace(self.headers, priority=BACKGROUND)

    def time_left(self) -> float:
        """Seconds until the deadline; infinity where there is none, negative when it has passed."""
        return self.deadline - self.host.monotonic()


_SYSTEM = Context(Host.system())
ambient: ContextVar[Context] = ContextVar("hanse_context", default=_SYSTEM)


def current() -> Context:
    """The context that the calling code runs in; outside any handler, an empty one on the real machine.

    Example:
        >>> current().operation
        ''
    """
    return ambient.get()
