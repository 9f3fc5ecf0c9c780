"""Binds methods of services to endpoints: bytes to typed arguments, a unit of work around, typed results to bytes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import msgspec

from hanse.contract.derive import Operation
from hanse.kernel.closing import closing
from hanse.kernel.codec import canonical, codec_for, encode
from hanse.kernel.context import Context
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, DeadlineExceeded, Invalid
from hanse.kernel.message import Message
from hanse.mesh.server import Endpoint, Run
from hanse.service.unit import Unit, unit_for
from hanse.store.base import AlreadyHandled, Batch, Mark, Store

Method = Callable[..., Any]
Execute = Callable[[Context, Message], Awaitable[bytes]]


def endpoint(operation: Operation, method: Method, store: Store) -> Endpoint:
    """The endpoint of an operation that a method implements."""
    if operation.stream:
        return Endpoint(stream=_streaming(operation, method), allow=operation.options.allow)
    return Endpoint(run=_running(operation, method, store), allow=operation.options.allow)


def _running(operation: Operation, method: Method, store: Store) -> Run:
    decode = codec_for(operation.arguments).decode
    call = _calling(method)
    under_way: set[str] = set()

    async def execute(context: Context, message: Message) -> bytes:
        result = await call(decode(message.body))
        if context.expired:
            raise DeadlineExceeded(operation.address)
        if context.work is not None:
            # As the server does it: what cannot be told is not done, and revisions are known after it.
            _ = encode(result)
            await context.work.commit()
        return encode(result)

    def run(context: Context, message: Message) -> Awaitable[object]:
        context.store = store
        if message.headers.idempotency_key:
            return once(context, message)
        return call(decode(message.body))

    async def once(context: Context, message: Message) -> msgspec.Raw:
        key = message.headers.idempotency_key
        if key in under_way:
            raise _is_under_way(key)
        under_way.add(key)
        try:
            first = Mark(f"key/{operation.address}", key, hashlib.sha256(canonical(decode(message.body))).digest())
            return await _once(first, execute, store, context, message)
        finally:
            under_way.discard(key)

    return run


def _calling(method: Method) -> Callable[[msgspec.Struct], Awaitable[object]]:
    """How the fields of an arguments struct reach the method: in order, or by name where it wants that."""
    parameters = inspect.signature(method).parameters.values()
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters):
        return lambda arguments: method(**msgspec.structs.asdict(arguments))
    return lambda arguments: method(*msgspec.structs.astuple(arguments))


def _streaming(operation: Operation, method: Method) -> Callable[[Context, Message], AsyncIterator[bytes]]:
    decode = codec_for(operation.arguments).decode
    call = _calling(method)

    async def stream(context: Context, message: Message) -> AsyncIterator[bytes]:
        del context  # a stream outlives any unit of work: each of its writes commits by itself
        async with closing(cast("AsyncIterator[object]", call(decode(message.body)))) as items:
            async for item in items:
                yield encode(item)

    return stream


async def _once(mark: Mark, execute: Execute, store: Store, context: Context, message: Message) -> msgspec.Raw:
    """Execute a call with an idempotency key once, and give its repeats the first answer.

    The mark is made in the call's own unit of work, so it is there exactly when the effects are. The answer is kept by
    a commit of its own, since it may tell a revision that only the first commit gave.
    """
    if (first := await store.marked(mark.scope, mark.key)) is not None:
        return await _repeated(store, first, mark.digest)
    cast("Unit", unit_for(store)).marks.append(mark)
    try:
        answer = await execute(context, message)
    except AlreadyHandled:
        raise _is_under_way(mark.key) from None
    kept = Mark(f"{mark.scope}/answer", mark.key, result=answer)
    fault_point("key.before_answer")
    _ = await store.commit(Batch(context.host.now(), marks=(kept,)))
    fault_point("key.after_answer")
    return msgspec.Raw(answer)


def _is_under_way(key: str) -> Conflict:
    return Conflict(f"a call with the idempotency key {key!r} is under way; ask again in a moment")


async def _repeated(store: Store, first: Mark, digest: bytes) -> msgspec.Raw:
    if first.digest != digest:
        raise Invalid(f"the idempotency key {first.key!r} was used for another request; take a new key", [])
    answer = await store.marked(f"{first.scope}/answer", first.key)
    if answer is None:
        raise Conflict(f"the call with the idempotency key {first.key!r} was executed, but its answer is lost")
    return msgspec.Raw(answer.result)
