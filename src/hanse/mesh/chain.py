"""The one composition type: a handler takes a message and gives its reply; a middleware wraps a handler.

A chain is folded once, when a client is made or a service is bound; a call walks it without asking what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from hanse.kernel.context import FOREVER
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.telemetry import Side
from hanse.mesh.breaker import COUNTED, Breaker
from hanse.mesh.fault import FAULT, fault_in, is_undone
from hanse.mesh.retry import Budget, next_delay
from hanse.mesh.watch import Watch

Handler = Callable[[Message], Awaitable[Message]]
Middleware = Callable[[Handler], Handler]


def chain(handler: Handler, *middlewares: Middleware) -> Handler:
    """The handler, wrapped; the first middleware is outermost."""
    for middleware in reversed(middlewares):
        handler = middleware(handler)
    return handler


def breaking(breaker: Breaker, target: str, host: Host) -> Middleware:
    """Refuse at once what has been failing: see `hanse.mesh.breaker`."""

    def wrap(handler: Handler) -> Handler:
        async def call(message: Message) -> Message:
            if not breaker.closed:
                check(breaker, target, host)
            try:
                reply = await handler(message)
            except Fault as fault:
                failed(breaker, fault, host)
                raise
            if breaker.closed and reply.kind is not FAULT:
                breaker.calls += 1
            else:
                answered(breaker, reply, host)
            return reply

        return call

    return wrap


# What `breaking` does, for whoever has no need of another coroutine on the way of every call.


def check(breaker: Breaker, target: str, host: Host) -> None:
    """Refuse a call that its breaker does not allow. Raises `Unavailable`."""
    if not breaker.allows(host.monotonic()):
        raise Unavailable(f"{target} has been failing and is left alone for a moment")


def failed(breaker: Breaker, fault: Fault, host: Host) -> None:
    """A call came to a fault that nobody answered.

    A lost connection took many calls with it, or nobody is there: that is told at once, and says nothing of whoever is
    asked next. To leave the operation alone would make an outage of one instance's death.
    """
    if not isinstance(fault, Unavailable):
        breaker.record(failed=fault.code in COUNTED, now=host.monotonic())


def answered(breaker: Breaker, reply: Message, host: Host) -> None:
    """A call was answered."""
    if reply.kind is not FAULT:
        breaker.record(failed=False, now=host.monotonic())
    elif not is_undone(reply):
        breaker.record(failed=reply.headers.type in COUNTED, now=host.monotonic())


def retrying(budget: Budget, host: Host) -> Middleware:
    """Try again what may be tried again, within the caller's time and the budget: see `hanse.mesh.retry`."""

    def wrap(handler: Handler) -> Handler:
        async def call(message: Message) -> Message:
            budget.earn()
            # All tries together take no longer than the first was given.
            ends = host.monotonic() + message.timeout if message.timeout else FOREVER
            retry = 0
            while True:
                retry += 1
                reply: Message | None = None
                try:
                    reply = await handler(message)
                    if reply.kind is not FAULT:
                        return reply
                    fault = fault_in(reply)
                except Fault as error:
                    fault = error
                delay = next_delay(fault, retry, ends - host.monotonic(), host.chance.random())
                if delay is not None and budget.spend():
                    await asyncio.sleep(delay)
                    left = ends - host.monotonic()
                    if left > 0:
                        message = again(message, left)
                        continue
                if reply is None:
                    raise fault
                return reply

        return call

    return wrap


def again(message: Message, left: float) -> Message:
    """The same message once more, with so many seconds left: others know it by its attempt."""
    headers = msgspec.structs.replace(message.headers, attempt=message.headers.attempt + 1)
    timeout = 0.0 if left == FOREVER else left
    return Message(message.kind, message.id, message.address, timeout, headers, message.body)


def watching(watch: Watch) -> Middleware:
    """Open a span around each call, and count how it ended."""

    def wrap(handler: Handler) -> Handler:
        return lambda message: watch.call(Side.CLIENT, handler, message)

    return wrap
