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
            if not breaker.closed and not breaker.allows(host.monotonic()):
                raise Unavailable(f"{target} has been failing and is left alone for a moment")
            try:
                reply = await handler(message)
            except Unavailable:
                # A lost connection took many calls with it, or nobody is there: that is told at once, and says nothing
                # of whoever is asked next. To leave the operation alone would make an outage of one instance's death.
                raise
            except Fault as fault:
                breaker.record(failed=fault.code in COUNTED, now=host.monotonic())
                raise
            if reply.kind is not FAULT and breaker.closed:
                breaker.answered()
            elif reply.kind is not FAULT or not is_undone(reply):
                failed = reply.kind is FAULT and reply.headers.type in COUNTED
                breaker.record(failed=failed, now=host.monotonic())
            return reply

        return call

    return wrap


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
