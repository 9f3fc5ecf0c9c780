"""Binds methods of services to endpoints: bytes to typed arguments, a unit of work around, typed results to bytes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, cast

import msgspec

from hanse.contract.derive import Operation
from hanse.kernel.closing import closing
from hanse.kernel.codec import UNREADABLE, canonical, codec_for
from hanse.kernel.context import Context
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import AnswerLost, DeadlineExceeded, KeyReused, UnderWay
from hanse.kernel.message import Identity, Message
from hanse.kernel.unfit import telling
from hanse.mesh.server import Endpoint, Run
from hanse.node.sagas import Sagas, saga_id
from hanse.service.saga_method import Pinned
from hanse.service.unit import Unit, unit_for
from hanse.store.base import AlreadyHandled, Mark, Store

Method = Callable[..., Any]
Execute = Callable[[Context, Message], Awaitable[bytes]]

METHODS_MAX = 1_000
"""Methods of which is kept in mind how they take their arguments; of others it is found out anew."""


def endpoint(operation: Operation, method: Method, store: Store) -> Endpoint:
    """The endpoint of an operation that a method implements."""
    if operation.stream:
        return Endpoint(stream=_streaming(operation, method), allow=operation.options.allow, store=store)
    encode = codec_for(operation.result).encode
    call = _called(operation, method)
    run = _running(operation, method, store, call)
    return Endpoint(run=run, allow=operation.options.allow, encode=encode, call=call, store=store)


def saga_endpoint(operation: Operation, method: Method, pinned: Pinned, sagas: Sagas) -> Endpoint:
    """The endpoint of an operation that is a saga: a call begins it, once for its key, and waits for its end."""
    decode, signature = codec_for(operation.arguments).decode, inspect.signature(method)
    by_name = _wants_names(method)

    async def run(context: Context, message: Message) -> object:
        del context
        arguments = decode(message.body)
        values = msgspec.structs.asdict(arguments)
        bound = signature.bind(**values) if by_name else signature.bind(*values.values())
        # Without a key, the message is its own: if it comes twice, it is one call.
        key = message.headers.idempotency_key or f"{message.id}/{hashlib.sha256(canonical(arguments)).hexdigest()}"
        id = saga_of_call(operation, message.headers.identity, key)
        return await sagas.call(pinned, bound.arguments, id=id)

    return Endpoint(run=run, allow=operation.options.allow, encode=codec_for(operation.result).encode)


def saga_of_call(operation: Operation, identity: Identity, key: str) -> str:
    """The id of the saga that a call with a key begins."""
    return saga_id(_scope(operation, identity), key)


def _called(operation: Operation, method: Method) -> Callable[[bytes], Awaitable[object]]:
    codec = codec_for(operation.arguments)
    decode, decode_raw, astuple = codec.decode, codec.decode_raw, msgspec.structs.astuple
    by_name = _calling(method) if _wants_names(method) else None

    def call(body: bytes) -> Awaitable[object]:
        try:
            arguments = decode_raw(body)
        except UNREADABLE:
            arguments = decode(body)  # says why
        # Not through `_calling`: this is on the way of every call.
        return method(*astuple(arguments)) if by_name is None else by_name(arguments)

    return call


def _running(operation: Operation, method: Method, store: Store, plain: Callable[[bytes], Awaitable[object]]) -> Run:
    decode, call = codec_for(operation.arguments).decode, _calling(method)
    encode = telling(codec_for(operation.result).encode, operation.address)
    under_way: set[tuple[str, str]] = set()

    async def execute(context: Context, message: Message) -> bytes:
        result = await call(decode(message.body))
        if context.expired:
            raise DeadlineExceeded(operation.address)
        if context.work is not None:
            # As the server does it: what cannot be told is not done, and revisions are known after it.
            _ = encode(result)
            await cast("Unit", context.work).commit(lambda: msgspec.Raw(encode(result)))
        return encode(result)

    def run(context: Context, message: Message) -> Awaitable[object]:
        return once(context, message) if message.headers.idempotency_key else plain(message.body)

    async def once(context: Context, message: Message) -> msgspec.Raw:
        key, scope = message.headers.idempotency_key, _scope(operation, message.headers.identity)
        first = Mark(scope, key, hashlib.sha256(canonical(decode(message.body))).digest())
        if context.shadow:
            # It takes effect on nothing, so it neither waits for its original nor keeps that waiting.
            return await _once(first, execute, store, context, message)
        if (scope, key) in under_way:
            raise _is_under_way(key)
        under_way.add((scope, key))
        try:
            return await _once(first, execute, store, context, message)
        finally:
            under_way.discard((scope, key))

    return run


def _calling(method: Method) -> Callable[[msgspec.Struct], Awaitable[object]]:
    """How the fields of an arguments struct reach the method: in order, or by name where it wants that."""
    if _wants_names(method):
        return lambda arguments: method(**msgspec.structs.asdict(arguments))
    return lambda arguments: method(*msgspec.structs.astuple(arguments))


def _wants_names(method: Method) -> bool:
    # A method of one class is bound anew by each node, and has the same parameters each time.
    function = getattr(method, "__func__", None)
    return _has_names_only(function) if isinstance(function, FunctionType) else _has_names_only.__wrapped__(method)


@lru_cache(maxsize=METHODS_MAX)
def _has_names_only(method: Method) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)


def _streaming(operation: Operation, method: Method) -> Callable[[Context, Message], AsyncIterator[bytes]]:
    decode, encode = (
        codec_for(operation.arguments).decode,
        telling(codec_for(operation.result).encode, operation.address),
    )
    call = _calling(method)

    async def stream(context: Context, message: Message) -> AsyncIterator[bytes]:
        del context  # a stream outlives any unit of work: each of its writes commits by itself, see `Endpoint.store`
        async with closing(cast("AsyncIterator[object]", call(decode(message.body)))) as items:
            async for item in items:
                yield encode(item)

    return stream


async def _once(mark: Mark, execute: Execute, store: Store, context: Context, message: Message) -> msgspec.Raw:
    """Execute a call with an idempotency key once, and give its repeats the first answer.

    The mark and the answer are committed with the effects, so they are there exactly when those are.
    """
    if (first := await store.marked(mark.scope, mark.key)) is not None:
        return _repeated(first, mark.digest)
    unit = cast("Unit", unit_for(store))
    unit.first = mark
    try:
        answer = await execute(context, message)
    except AlreadyHandled as fault:
        if (fault.scope, fault.key) != (mark.scope, mark.key):
            raise
        # Another instance was faster by a moment; what this one did was refused with its mark, and is forgotten.
        unit.clear()
        unit.first = None
        first = await store.marked(mark.scope, mark.key)
        if first is None:
            raise _is_under_way(mark.key) from None
        return _repeated(first, mark.digest)
    fault_point("key.after_answer")
    return msgspec.Raw(answer)


def _is_under_way(key: str) -> UnderWay:
    return UnderWay(f"a call with the idempotency key {key!r} is under way; ask again in a moment")


def _repeated(first: Mark, digest: bytes) -> msgspec.Raw:
    if first.digest != digest:
        raise KeyReused(f"the idempotency key {first.key!r} was used for another request; take a new key", [])
    if not first.result:
        raise AnswerLost(
            f"the call with the idempotency key {first.key!r} took effect, but its answer was not kept; look "
            "at what it was to change, and take a new key to go on"
        )
    return msgspec.Raw(first.result)


def _scope(operation: Operation, identity: Identity) -> str:
    """Where a key is unique: one operation, one caller."""
    return f"key/{operation.address}/{identity.caller}" if identity.caller else f"key/{operation.address}"
