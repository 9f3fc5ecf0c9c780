"""Serves what comes: finds the operation, guards it, limits it, ends it at its deadline, and answers.

Whatever happens inside, the caller gets an answer: the result, the typed fault, or `Internal` with a reference under
which the log has the rest.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import msgspec

from hanse.contract.guard import Guard
from hanse.kernel.codec import encode
from hanse.kernel.context import FOREVER, Context, ambient
from hanse.kernel.faults import (
    DeadlineExceeded,
    Fault,
    Forbidden,
    Internal,
    Overloaded,
    Unauthenticated,
    UnknownOperation,
)
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.kernel.telemetry import Side, Tracer, call_attributes
from hanse.mesh.deadline import Deadlines
from hanse.mesh.fault import fault_message
from hanse.transport.base import service_of

_log = logging.getLogger("hanse.server")

STREAMS_MAX = 10_000
"""Streams that one server has open at once."""

_REPLY = Kind.REPLY  # asking an enumeration for its member costs more than making the message (CPython 3.11)
NOTHING = Message(_REPLY, "", "")

Run = Callable[[Context, Message], Awaitable[object]]
RunStream = Callable[[Context, Message], AsyncIterator[bytes]]


class Endpoint(msgspec.Struct, frozen=True):
    """What stands behind an address.

    Attributes:
        run: Handles a message in its context, and gives the answer, which is encoded once its unit of work has been
            committed; None for a stream.
        stream: Handles a message with encoded items; None for a single answer.
        allow: Who may call; None for anybody in the system.
    """

    run: Run | None = None
    stream: RunStream | None = None
    allow: Guard | None = None


class Server:
    """The operations that one node serves, and the limits they share."""

    def __init__(self, host: Host, *, calls_max: int, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._host = host
        self._calls_max = calls_max
        self._endpoints: dict[str, Endpoint] = {}
        self._deadlines = Deadlines(host)
        self._streams = 0
        self._idle = asyncio.Event()
        self._waiting = False

    def add(self, address: str, endpoint: Endpoint) -> None:
        """Serve an address."""
        self._endpoints[address] = endpoint

    @property
    def running(self) -> int:
        """Operations that are being handled."""
        return len(self._deadlines.running)

    async def idle(self) -> None:
        """Wait until nothing is being handled; bound it with a timeout."""
        self._waiting = True
        while self._deadlines.running:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        """Stop the timer of deadlines."""
        self._deadlines.close()

    def serve(self, message: Message, /) -> Awaitable[Message]:
        """See `Receiver.serve`."""
        try:
            endpoint = self._admit(message, len(self._deadlines.running), self._calls_max)
            if endpoint.run is None:
                raise UnknownOperation(f"{message.address} answers with a stream; iterate over it")
        except Fault as fault:
            return _answer(fault_message(fault, message.id))
        if self._tracer is not None:
            return self._traced(self._tracer, endpoint.run, message)
        return self._handle(endpoint.run, message)

    async def _traced(self, tracer: Tracer, run: Run, message: Message) -> Message:
        attributes = call_attributes(message.address)
        with tracer.span(message.address, Side.SERVER, message.headers, attributes) as span:
            return await self._handle(run, message.with_headers(span.headers))

    async def _handle(self, run: Run, message: Message) -> Message:
        context = self._context(message)
        token = ambient.set(context)
        self._deadlines.add(context)
        try:
            answer = await run(context, message)
            if context.work is not None:
                await context.work.commit()
            reply = Message(_REPLY, message.id, "", 0.0, NO_HEADERS, encode(answer))
        except Fault as fault:
            reply = fault_message(fault, message.id)
        except asyncio.CancelledError:
            if not context.expired:
                raise
            reply = NOTHING
        except Exception as error:  # noqa: BLE001 - the last resort: whatever a handler does, its caller is answered
            reply = fault_message(self._internal(message, error), message.id)
        finally:
            self._deadlines.discard(context)
            ambient.reset(token)
            if self._waiting and not self._deadlines.running:
                self._idle.set()
        # Also what a handler answers after it swallowed its cancellation comes too late.
        return self._expired(context, message) if context.expired else reply

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Receiver.serve_stream`."""
        try:
            endpoint = self._admit(message, self._streams, STREAMS_MAX)
            if endpoint.stream is None:
                raise UnknownOperation(f"{message.address} answers once; await it")
        except Fault as fault:
            yield fault_message(fault, message.id)
            return
        context = self._context(message)
        items = cast("AsyncGenerator[bytes, None]", endpoint.stream(context, message))
        self._streams += 1
        try:
            async with aclosing(items):
                while (body := await _step(items, context)) is not None:
                    yield Message(Kind.ITEM, message.id, "", body=body)
                yield Message(Kind.END, message.id, "")
        except Fault as fault:
            yield fault_message(fault, message.id)
        except Exception as error:  # noqa: BLE001 - see _handle
            yield fault_message(self._internal(message, error), message.id)
        finally:
            self._streams -= 1

    def _admit(self, message: Message, running: int, limit: int) -> Endpoint:
        endpoint = self._endpoints.get(message.address)
        if endpoint is None:
            raise self._unknown(message.address)
        if running >= limit:
            raise Overloaded(f"the limit of {limit} at once")
        if endpoint.allow is not None and not endpoint.allow.allows(message.headers.identity):
            if message.headers.identity.anonymous:
                raise Unauthenticated
            raise Forbidden(f"{message.address} needs {endpoint.allow.wants}")
        return endpoint

    def _context(self, message: Message) -> Context:
        deadline = self._host.monotonic() + message.timeout if message.timeout else FOREVER
        headers = message.headers
        if headers.idempotency_key:
            # The key is this operation's; what it calls in turn has keys of its own.
            headers = msgspec.structs.replace(headers, idempotency_key="")
        return Context(self._host, headers, deadline, message.id, message.address)

    def _expired(self, context: Context, message: Message) -> Message:
        task = cast("asyncio.Task[Any]", context.task)
        task.uncancel()
        return fault_message(DeadlineExceeded(message.address), message.id)

    def _internal(self, message: Message, error: Exception) -> Internal:
        reference = self._host.new_id()
        _log.error("%s failed, reference %s", message.address, reference, exc_info=error)
        return Internal(reference)

    def _unknown(self, address: str) -> UnknownOperation:
        service = service_of(address)
        there = sorted(known for known in self._endpoints if service_of(known) == service)
        near = difflib.get_close_matches(address, there, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(there) or 'none'}"
        return UnknownOperation(f"there is no operation {address}; {hint}")


async def _step(items: AsyncGenerator[bytes, None], context: Context) -> bytes | None:
    """One item of a stream, made in the handler's context; None at the end."""
    token = ambient.set(context)
    try:
        return await anext(items, None)
    finally:
        ambient.reset(token)


async def _answer(message: Message) -> Message:
    return message
