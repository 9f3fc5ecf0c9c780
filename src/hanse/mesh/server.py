"""Serves what comes: finds the operation, guards it, limits it, ends it at its deadline, and answers.

Whatever happens inside, the caller gets an answer: the result, the typed fault, or `Internal` with a reference under
which the log has the rest.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import Token
from functools import partial
from typing import Any, cast

import msgspec

from hanse.contract.guard import Guard
from hanse.kernel.closing import closing
from hanse.kernel.codec import encode
from hanse.kernel.context import FOREVER, Context, ambient
from hanse.kernel.faults import (
    CannotTell,
    DeadlineExceeded,
    Fault,
    Forbidden,
    Internal,
    Overloaded,
    Unauthenticated,
    Unavailable,
    UnknownOperation,
)
from hanse.kernel.host import Host
from hanse.kernel.latency import BOUNDS_MS, no_latencies
from hanse.kernel.message import BACKGROUND, NO_HEADERS, Headers, Kind, Message
from hanse.kernel.telemetry import Side
from hanse.kernel.unfit import UNFIT, told, unfit
from hanse.mesh.deadline import Deadlines
from hanse.mesh.fault import fault_message, undone_message
from hanse.mesh.watch import Watch
from hanse.transport.base import Answer, service_of
from hanse.transport.lot import Handle, Lot, Worker, one_by_one

_log = logging.getLogger("hanse.server")

STREAMS_MAX = 10_000
"""Streams that one server has open at once."""

INNER_FACTOR = 10
"""How many times the limit of calls may run in all, counting those that handlers make of one another. A call from a
handler that runs here was let in with it: to shed it would fail, halfway, just the work that was admitted."""

BACKGROUND_SHARE = 0.8
"""Share of a limit up to which there is room for what nobody waits for: events, rules, schedules, and what these call.
The rest is kept for calls of people, so that a backlog delays itself and not them."""

UNTIMED = 31
"""Of 32 calls, one is timed: a clock for each of them would cost more than all else that is counted of them."""

STOPPING = "this node is stopping; go on elsewhere, or when it is back"

_current_task = asyncio.current_task
# Bound once: what is imported is asked for its method anew each time, which makes one (CPython 3.11).
_enter, _leave = ambient.set, ambient.reset
_REPLY = Kind.REPLY  # asking an enumeration for its member costs more than making the message (CPython 3.11)
_ITEM = Kind.ITEM
_EVENT = Kind.EVENT
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
        encode: What makes bytes of the answer.
        call: As `run`, given the body alone, in the context that is the ambient one: for what has no idempotency key
            and needs to know of nothing else, as most calls; None where there is no such way.
        store: The store whose unit of work a call is; None where each write commits by itself. Writes of a stream do,
            but under the shadow mark: there they are one unit that is never committed, so that it reads what it wrote.
    """

    run: Run | None = None
    stream: RunStream | None = None
    allow: Guard | None = None
    encode: Callable[[object], bytes] = encode
    call: Callable[[bytes], Awaitable[object]] | None = None
    store: object | None = None


class _Tally:
    """Calls that went well, and how long some took. An object, as to count in it costs less than in a dictionary."""

    __slots__ = ("latencies", "well")

    def __init__(self) -> None:
        self.well = 0
        self.latencies = no_latencies()

    def took(self, seconds: float) -> None:
        self.latencies[bisect_left(BOUNDS_MS, seconds * 1000.0)] += 1


class Server:
    """The operations that one node serves, and the limits they share."""

    def __init__(self, host: Host, *, calls_max: int, watch: Watch | None = None) -> None:
        self._watch = watch
        self._host = host
        self._calls_max = calls_max
        self._endpoints: dict[str, Endpoint] = {}
        # Those of which most calls need not be asked anything, and what handles lots of each: see `serve`, `handler`.
        self._plain: dict[str, Endpoint] = {}
        self._handles: dict[str, Handle] = {}
        self._ask_all: Handle = one_by_one(self._asked_all)
        self._deadlines = Deadlines(host)
        self._inside = self._deadlines.inside
        self._working = self._deadlines.working
        self._monotonic = host.monotonic
        self._busy = BACKGROUND_SHARE * calls_max
        self._streams = 0
        self._steps: dict[Context, None] = {}
        self._draining = False
        self._ending = False
        self._idle = asyncio.Event()
        self._waiting = False
        self._well: dict[str, _Tally] = {}
        self._failed: dict[tuple[str, str], int] = {}
        self.undone: dict[tuple[str, str], int] = {}
        """Of `ended`, those that were turned away before they began, so that whoever asked asks elsewhere."""

    def add(self, address: str, endpoint: Endpoint) -> None:
        """Serve an address."""
        self._endpoints[address] = endpoint
        tally = self._well.setdefault(address, _Tally())
        if endpoint.run is not None:
            self._handles[address] = self._handling(endpoint, endpoint.run, tally)
        self._sort()

    def open(self) -> None:
        """Serve calls and streams, also after `drain` and `end_streams`."""
        self._draining = self._ending = False
        self._sort()

    @property
    def running(self) -> int:
        """Operations that are being handled."""
        return len(self._deadlines)

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return self._streams

    @property
    def ended(self) -> dict[tuple[str, str], int]:
        """Calls and streams that have ended, by address and by their fault's code; empty where it went well."""
        return {**{(address, ""): tally.well for address, tally in self._well.items() if tally.well}, **self._failed}

    def latencies(self, address: str) -> Sequence[int]:
        """How many of every 32nd call that went well took how long, by `hanse.kernel.latency.BOUNDS_MS`."""
        return self._well[address].latencies

    def drain(self) -> None:
        """Let no more calls in but those of work that is under way here, so that it comes to its end under any load.

        Events are taken, as this node's own may be among them; nobody waits for them, and they come again.
        """
        self._draining = True
        self._sort()

    async def idle(self) -> None:
        """Wait until nothing is being handled; bound it with a timeout."""
        self._waiting = True
        while self.running:
            self._idle.clear()
            await self._idle.wait()

    def end_streams(self) -> None:
        """End every stream with `Unavailable`: its reader comes back with its cursor, to whoever serves then."""
        self._ending = True
        for context in self._steps:
            assert context.task is not None
            context.expired += 1
            context.task.cancel()

    def close(self) -> None:
        """Stop the timer of deadlines."""
        self._deadlines.close()

    def serve(self, message: Message, /) -> Awaitable[Message]:
        """See `Receiver.serve`."""
        endpoint = self._plain.get(message.address)
        if endpoint is None or len(self._inside) + len(self._working) >= self._busy:
            return self._asked_all(message)
        return self._handle(endpoint, message)

    def handler(self, address: str, /) -> Handle:
        """See `Handles.handler`."""
        return self._handles[address] if address in self._plain else self._ask_all

    def _sort(self) -> None:
        """Note which endpoints take a call as it comes, while there is room."""
        self._plain = {}
        if not self._draining and self._watch is None:
            for address, endpoint in self._endpoints.items():
                if endpoint.allow is None and endpoint.run is not None:
                    self._plain[address] = endpoint

    def _asked_all(self, message: Message) -> Awaitable[Message]:
        """Have a message handled of which all is asked that most calls need not be asked."""
        try:
            endpoint = self._admit(message, self.running, self._calls_max)
            if endpoint.run is None:
                raise UnknownOperation(f"{message.address} answers with a stream; iterate over it")
        except Fault as fault:
            return _answer(self._refused(fault, message))
        if self._watch is not None:
            return self._watch.call(Side.SERVER, partial(self._handle, endpoint), message)
        return self._handle(endpoint, message)

    async def _handle(self, endpoint: Endpoint, message: Message) -> Message:
        """Handle a call that has been let in, in the task of whoever asks."""
        deadlines, inside = self._deadlines, self._inside
        run, encode = endpoint.run, endpoint.encode
        assert run is not None
        # `asyncio.current_task` asks for the loop, which costs more than all the rest of it.
        task = _current_task(deadlines.loop or deadlines.begin())
        headers = message.headers
        deadline = self._monotonic() + message.timeout if message.timeout else FOREVER
        if headers.attempt != 1 or headers.idempotency_key:
            headers = _own(headers)
        context = Context(self._host, headers, deadline, message.id, message.address, endpoint.store, None, task)
        inside[context], result = None, None
        token = _enter(context)
        if deadline < deadlines.nearest:
            deadlines.wait_for(deadline)
        try:
            result = await run(context, message)
            if context.work is not None:
                await _commit(context, encode, result)
            body = encode(result)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - see `_faulted`
            return self._faulted(context, message, error, endpoint, result)
        else:
            if context.expired:
                return self._expired(context)
            tally = self._well[message.address]
            tally.well = count = tally.well + 1
            if not count & UNTIMED and message.timeout:
                tally.took(self._monotonic() - deadline + message.timeout)
            return Message(_REPLY, message.id, "", 0.0, NO_HEADERS, body)
        finally:
            del inside[context]
            _leave(token)
            # What a task that outlives its handler writes must not wait for a commit that has been.
            context.store = None
            if self._waiting and not self.running:
                self._idle.set()

    def _handling(self, endpoint: Endpoint, run: Run, tally: _Tally) -> Handle:  # noqa: C901, PLR0915 - written out
        """What handles the calls of an endpoint that others make: as `_handle`, in one coroutine for many of them.

        All that is the same for each of them is asked once, as to ask an object for it costs more than to use it.
        """
        host, deadlines, inside, working = self._host, self._deadlines, self._inside, self._working
        encode, store, faulted, monotonic = endpoint.encode, endpoint.store, self._faulted, self._monotonic

        async def handle(lot: Lot[Any], worker: Worker) -> None:  # noqa: C901, PLR0912, PLR0915 - written out
            if len(inside) + len(working) >= self._busy:
                return await self._ask_all(lot, worker)
            kind, address, headers, asks, asker = lot.kind, lot.address, lot.headers, lot.asks, lot.asker
            began, own, tell = lot.came or monotonic(), _own(headers), asker.told
            call = None if headers.idempotency_key else endpoint.call
            task, variables, cancelling = worker.task, worker.variables, worker.task.cancelling
            first: Token[Context] | None = None
            answer: Answer | None
            asker.working[worker], working[task] = None, worker
            try:
                while True:
                    key, id, timeout, body = asks.pop()
                    worker.key, result = key, None
                    deadline = began + timeout if timeout else FOREVER
                    context = worker.context = Context(host, own, deadline, id, address, store, None, task)
                    # It stays until the next one's: to take it back after each costs as much as to set it.
                    if first is None:
                        first = _enter(context)
                    else:
                        _enter(context)
                    before = variables.copy()
                    if deadline < deadlines.nearest:
                        deadlines.wait_for(deadline)
                    try:
                        if call is not None:
                            result = await call(body)
                        else:
                            result = await run(context, Message(kind, id, address, timeout, headers, body))
                        if context.work is not None:
                            await _commit(context, encode, result)
                        told = encode(result)
                    except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - see `_faulted`
                        message, answer = Message(kind, id, address, timeout, headers, body), None
                        try:
                            answer = faulted(context, message, error, endpoint, result)
                        finally:
                            context.store = None
                            asker.handled(key, message, answer)
                    else:
                        context.store = None
                        if not context.expired:
                            tell(key, told)
                            tally.well = count = tally.well + 1
                            if not count & UNTIMED:
                                tally.took(monotonic() - began)
                        else:
                            message, answer = Message(kind, id, address, timeout, headers, body), None
                            try:
                                answer = self._expired(context)
                            finally:
                                asker.handled(key, message, answer)
                    if not asks or variables != before or cancelling():
                        return None
            finally:
                del asker.working[worker], working[task]
                self._handled(worker, first)

        return handle

    def _handled(self, worker: Worker, first: Token[Context] | None) -> None:
        """A worker has ended, for now: its context is as it was before the first that it handled."""
        if first is not None:
            _leave(first)
        worker.context = None
        if self._waiting and not self.running:
            self._idle.set()

    def _faulted(
        self, context: Context, message: Message, error: BaseException, endpoint: Endpoint, result: object
    ) -> Message:
        """The answer of a call that came to an error: whatever a handler does, its caller is answered.

        Raises:
            CancelledError: Somebody wants the handler's task to end.
        """
        if context.expired:
            return self._expired(context)
        if isinstance(error, Exception):
            fault = self._fault_of(message, _telling(error, endpoint, message, result))
        elif context.task is not None and context.task.cancelling() > 0:
            raise error
        else:
            # The handler met a cancelled task of its own; nobody wants this one to end.
            fault = self._internal(message, error)
        reply = fault_message(fault, message.id)
        self._count(message.address, reply.headers.type)
        return reply

    def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Receiver.serve_stream`."""
        if self._watch is not None and message.address in self._endpoints:
            return self._watch.stream(Side.SERVER, self._serve_stream, message)
        return self._serve_stream(message)

    async def _serve_stream(self, message: Message) -> AsyncIterator[Message]:
        try:
            endpoint = self._admit(message, self._streams, STREAMS_MAX)
            if endpoint.stream is None:
                raise UnknownOperation(f"{message.address} answers once; await it")
        except Fault as fault:
            yield self._refused(fault, message)
            return
        deadline = self._monotonic() + message.timeout if message.timeout else FOREVER
        store = endpoint.store if message.headers.shadow else None
        context = Context(self._host, _own(message.headers), deadline, message.id, message.address, store)
        items = endpoint.stream(context, message)
        self._streams += 1
        code = ""
        try:
            try:
                loop = asyncio.get_running_loop()  # asked once: see Deadlines.add
                while (body := await self._step(items, context, loop)) is not None:
                    yield Message(_ITEM, message.id, "", 0.0, NO_HEADERS, body)
                yield Message(Kind.END, message.id, "")
            finally:
                await _close(items, context)
        except Exception as error:  # noqa: BLE001 - see _handle
            reply = fault_message(error if isinstance(error, Fault) else self._fault_of(message, error), message.id)
            code = reply.headers.type
            yield reply
        finally:
            self._streams -= 1
            self._count(message.address, code)

    def _admit(self, message: Message, running: int, limit: int) -> Endpoint:
        endpoint = self._endpoints.get(message.address)
        if endpoint is None:
            raise self._unknown(message.address)
        if self._draining and message.kind is not _EVENT and not ambient.get().operation:
            raise Unavailable(STOPPING)
        if running >= BACKGROUND_SHARE * limit:
            self._check_room(message, running, limit)
        if endpoint.allow is not None and not endpoint.allow.allows(message.headers.identity):
            if message.headers.identity.anonymous:
                raise Unauthenticated
            raise Forbidden(f"{message.address} needs {endpoint.allow.wants}")
        return endpoint

    def _check_room(self, message: Message, running: int, limit: int) -> None:
        """Refuse what is too much: first what nobody waits for, then all but what belongs to admitted work."""
        low = message.headers.priority >= BACKGROUND
        if (running < limit and not low) or (running < INNER_FACTOR * limit and ambient.get() in self._deadlines):
            return
        kept = f"; from {BACKGROUND_SHARE:.0%} of it on, calls that somebody waits for have the rest" if low else ""
        raise Overloaded(f"the limit of {limit} at once{kept}")

    def _refused(self, fault: Fault, message: Message) -> Message:
        elsewhere = isinstance(fault, Unavailable | UnknownOperation)  # it stops, or has another release
        reply = undone_message(fault, message.id) if elsewhere else fault_message(fault, message.id)
        if message.address in self._endpoints:  # others are names that anybody may have made up
            self._count(message.address, reply.headers.type)
            if elsewhere:
                key = message.address, reply.headers.type
                self.undone[key] = self.undone.get(key, 0) + 1
        return reply

    def _count(self, address: str, code: str) -> None:
        if code:
            self._failed[address, code] = self._failed.get((address, code), 0) + 1
        else:
            self._well[address].well += 1

    def _expired(self, context: Context) -> Message:
        """The answer of a handler whose time is over; also what it answers after it swallowed that comes too late.

        Raises:
            CancelledError: The caller gave up at the same moment.
        """
        task = cast("asyncio.Task[Any]", context.task)
        for _ in range(context.expired):
            task.uncancel()
        if task.cancelling():
            raise asyncio.CancelledError
        reply = fault_message(DeadlineExceeded(context.operation), context.message_id)
        self._count(context.operation, reply.headers.type)
        return reply

    async def _step(
        self, items: AsyncIterator[bytes], context: Context, loop: asyncio.AbstractEventLoop
    ) -> bytes | None:
        """One item of a stream, made in the handler's context; None at the end."""
        if self._ending:
            raise Unavailable(STOPPING)
        token = ambient.set(context)
        context.task = asyncio.current_task(loop)
        self._steps[context] = None
        try:
            return await (anext(items, None) if context.deadline == FOREVER else _next_in_time(items, context))
        except asyncio.CancelledError:
            if context.expired and context.task is not None and context.task.uncancel() == 0:
                raise Unavailable(STOPPING) from None
            raise
        finally:
            del self._steps[context]
            ambient.reset(token)

    def _fault_of(self, message: Message, error: Exception) -> Fault:
        """The fault that a handler came to, also as the only one of a group of tasks; else `Internal`."""
        inner: BaseException = error
        while isinstance(inner, ExceptionGroup):
            group = cast("ExceptionGroup[Exception]", inner)
            if len(group.exceptions) != 1:
                break
            inner = group.exceptions[0]
        return inner if isinstance(inner, Fault) else self._internal(message, error)

    def _internal(self, message: Message, error: BaseException) -> Internal:
        reference = self._host.new_id()
        _log.error("%s failed, reference %s", message.address, reference, exc_info=error)
        return Internal(reference)

    def _unknown(self, address: str) -> UnknownOperation:
        service = service_of(address)
        there = sorted(known for known in self._endpoints if service_of(known) == service)
        near = difflib.get_close_matches(address, there, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(there) or 'none'}"
        return UnknownOperation(f"there is no operation {address}; {hint}")


def _telling(error: Exception, endpoint: Endpoint, message: Message, answer: object) -> Exception:
    """An error, or, where it came of the answer, what of that does not fit into a message."""
    found = unfit(endpoint.encode, answer) if isinstance(error, UNFIT) else []
    return CannotTell(message.address, told(found)) if found else error


async def _next_in_time(items: AsyncIterator[bytes], context: Context) -> bytes | None:
    if context.time_left() <= 0:
        raise DeadlineExceeded(context.operation)
    timer = asyncio.timeout(context.time_left())
    try:
        async with timer:
            return await anext(items, None)
    except TimeoutError:
        if timer.expired():
            raise DeadlineExceeded(context.operation) from None
        raise


async def _close(items: AsyncIterator[bytes], context: Context) -> None:
    """End a stream in its handler's context, whoever it is that ends it."""
    token = ambient.set(context)
    try:
        async with closing(items):
            pass
    finally:
        ambient.reset(token)


def _own(headers: Headers) -> Headers:
    """What an operation hands on: the key and the attempt are its own, and what it calls in turn has others."""
    if headers.idempotency_key or headers.attempt != 1:
        return msgspec.structs.replace(headers, idempotency_key="", attempt=1)
    return headers


async def _commit(context: Context, encode: Callable[[object], bytes], result: object) -> None:
    """Commit what a handler wrote, unless its time is over."""
    if context.work is not None and not context.expired:
        # What cannot be told is not done. After the commit it is encoded again, with the rows' new revisions.
        _ = encode(result)
        await context.work.commit()


async def _answer(message: Message) -> Message:
    return message
