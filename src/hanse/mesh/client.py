"""Typed clients: what a field annotated with a contract holds.

A client has the contract's operations as methods. Each encodes its arguments, walks the chain (trace, retry, breaker)
to the transport, and gives back the decoded answer or raises the fault that was raised there, as its own class.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import ParamSpec, TypeVar, cast

import msgspec

from hanse.contract.derive import Description, Operation
from hanse.kernel.closing import closing
from hanse.kernel.codec import UNREADABLE, codec_for
from hanse.kernel.context import FOREVER, NOWHERE, Context, ambient
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import BrokenContract, DeadlineExceeded, Fault, Invalid, Malformed, Misdeclared
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.kernel.telemetry import Side
from hanse.kernel.unfit import UNFIT, told, unfit
from hanse.mesh.breaker import Breaker
from hanse.mesh.chain import Handler, Middleware, answered, breaking, chain, check, failed, retrying, watching
from hanse.mesh.fault import FAULT, fault_in
from hanse.mesh.hedge import Pace, hedging
from hanse.mesh.retry import Budget
from hanse.mesh.watch import Watch
from hanse.transport.base import AsksAtOnce, Call, Transport, by_message

_CALL, _ITEM = Kind.CALL, Kind.ITEM  # see FAULT
_ambient = ambient.get  # bound once: what is imported is asked for its method anew each time (CPython 3.11)
_LOW = tuple(f"{low:03x}" for low in range(16**3))

T = TypeVar("T")
P = ParamSpec("P")


class Policy(msgspec.Struct, frozen=True):
    """What a caller wants otherwise than the contract says.

    Attributes:
        timeout: Seconds to wait for the answer; None for the operation's or the node's default.
        retry: Whether to try again; None for "where the operation is idempotent".
        idempotency_key: Makes a repeat get the first answer.
        hedge: Whether a slow call is made once more, elsewhere; None for what the operation says. Only what is
            idempotent is.
    """

    timeout: float | None = None
    retry: bool | None = None
    idempotency_key: str = ""
    hedge: bool | None = None


class Caller:
    """What the clients of one node share: the transport, a budget for retries per contract, a breaker per operation."""

    def __init__(
        self, transport: Transport, host: Host, tasks: Tasks, *, timeout: float, watch: Watch | None = None
    ) -> None:
        self.transport: Transport = transport
        self.host: Host = host
        self.timeout: float = timeout
        self._tasks = tasks
        self.watch: Watch | None = watch
        self._budgets: dict[str, Budget] = {}
        self._paces: dict[str, Pace] = {}
        self.breakers: dict[str, Breaker] = {}
        """By address."""
        # The moment, and draws enough to tell it from nodes that started in the same one.
        self.next_id: Callable[[], str] = _ids(host.new_id()[:23]).__next__

    def start(self, request: Coroutine[object, object, None], name: str) -> None:
        """Let a request run by itself; what becomes of it goes to the log of the tasks' owner."""
        _ = self._tasks.start(request, name=name)

    def breaker(self, address: str) -> Breaker:
        """The breaker of an operation."""
        return self.breakers.setdefault(address, Breaker())

    def chain(self, operation: Operation, policy: Policy) -> Handler | None:
        """The way of a call to the transport; None where nothing but its breaker stands on it."""
        middlewares = list[Middleware]()
        again = operation.options.idempotent or bool(policy.idempotency_key)
        retry = again if policy.retry is None else policy.retry
        budget = self._budgets.setdefault(operation.contract, Budget())
        hedge = operation.options.hedge if policy.hedge is None else policy.hedge
        if hedge and operation.options.idempotent:
            pace = self._paces.setdefault(operation.address, Pace())
            middlewares.insert(0, hedging(pace, budget, self.host, earns=not retry))
        if retry:
            middlewares.insert(0, retrying(budget, self.host))
        if self.watch is not None:
            middlewares.insert(0, watching(self.watch))
        if not middlewares:
            return None
        guarded = breaking(self.breaker(operation.address), operation.address, self.host)
        return chain(self.transport.request, *middlewares, guarded)

    def stream(self, message: Message) -> AsyncIterator[Message]:
        """The way of a stream to the transport."""
        if self.watch is not None:
            return self.watch.stream(Side.CLIENT, self.transport.stream, message)
        return self.transport.stream(message)


class Client:
    """A typed client: an object with the operations of a contract as methods, each made when it is first asked for.

    So a client under another policy, used for one call, costs that one operation only.
    """

    def __init__(self, description: Description, caller: Caller, policy: Policy) -> None:
        self.__hanse_wiring__: tuple[Description, Caller, Policy] = (description, caller, policy)

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("__"):
            raise AttributeError(name)
        description, caller, policy = self.__hanse_wiring__
        operation = description.operations.get(name)
        if operation is None:
            known = ", ".join(description.operations)
            raise AttributeError(f"{description.name} has no operation {name!r}; it has {known}")
        make = _streaming if operation.stream else _calling
        method: Callable[..., object] = make(operation, caller, policy)
        self.__dict__[name] = method
        return method

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__hanse_wiring__[0].operations]

    def __repr__(self) -> str:
        description = self.__hanse_wiring__[0]
        return f"<client of {description.name} {description.version}>"


def client_of(description: Description, caller: Caller, policy: Policy = Policy()) -> Client:  # noqa: B008 - frozen
    """A client of a contract."""
    return Client(description, caller, policy)


def policy(
    client: T,
    /,
    *,
    timeout: Duration | None = None,
    retry: bool | None = None,
    idempotency_key: str = "",
    hedge: bool | None = None,
) -> T:
    """The same client under another policy.

    Write `await policy(self.payments, timeout="2s").charge(...)`. An object that is no client (a service constructed in
    a test, a fake) is given back as it is.

    Args:
        client: A typed client.
        timeout: How long to wait for answers.
        retry: Whether to try again after failures that allow it; by default where the operation is idempotent.
        idempotency_key: The call is executed once under this key; a repeat gets the first answer.
        hedge: Whether to make a call that is slow once more, elsewhere, and take the first answer; by default where the
            operation says so, and only where it is idempotent.
    """
    if not isinstance(client, Client):
        return client
    description, caller, old = client.__hanse_wiring__
    new = Policy(
        timeout=old.timeout if timeout is None else seconds(timeout),
        retry=old.retry if retry is None else retry,
        idempotency_key=idempotency_key or old.idempotency_key,
        hedge=old.hedge if hedge is None else hedge,
    )
    return cast("T", client_of(description, caller, new))


async def send(operation: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Fire and forget: call an operation of a typed client, and do not wait for its answer.

    Returns when the call is on its way. It is lost if this process dies first; what must not be lost is an event.

    Example: `await send(self.inventory.release, hold.id)`
    """
    started: Callable[P, None] | None = getattr(operation, "send", None)
    if started is None:
        await operation(*args, **kwargs)
    else:
        started(*args, **kwargs)


async def _noticed(request: Awaitable[Message], declared: Sequence[type[Fault]]) -> None:
    reply = await request
    if reply.kind is FAULT:
        raise fault_in(reply, declared)


def _time_left(context: Context, address: str) -> float:
    left = context.time_left()
    if left <= 0:
        raise _too_late(context, address)
    if context.rehearsal is not None:  # here, as work that is rehearsed has a deadline, and many calls have none
        context.rehearsal(address)
    return left


def _too_late(context: Context, address: str) -> Fault:
    if context.deadline == NOWHERE:
        return Misdeclared(
            f"{context.operation} is a saga, and would call {address} again whenever it is resumed; "
            f"call it in a step: `await s.step(self....{address.rpartition('.')[2]}, ...)`"
        )
    return DeadlineExceeded(address)


def _decoded(decode: Callable[[bytes], object], body: bytes, address: str) -> object:
    try:
        return decode(body)
    except (Invalid, Malformed) as error:
        raise BrokenContract(address, error.detail) from None


Ask = Callable[[msgspec.Struct], Awaitable[object]]
Begin = Callable[[msgspec.Struct], None]
Items = Callable[[msgspec.Struct], AsyncIterator[object]]


def asking(operation: Operation, caller: Caller, policy: Policy = Policy()) -> tuple[Ask, Begin]:  # noqa: B008 - frozen
    """How an operation is called with a struct of arguments: for its answer, and without waiting for one."""
    declared, address = operation.options.faults, operation.address
    message = _messages(operation, caller, policy)
    breaker, direct = caller.breaker(address), caller.transport.request
    around = caller.chain(operation, policy)
    request = around or breaking(breaker, address, caller.host)(direct)
    plain = around is None and not policy.idempotency_key
    ask = _asking(operation, caller, policy) if plain else _asking_through(request, operation, message)

    def begin(arguments: msgspec.Struct) -> None:
        caller.start(_noticed(request(message(Kind.SEND, arguments)), declared), address)

    return ask, begin


_MessageOf = Callable[[Kind, msgspec.Struct], Message]


def _messages(operation: Operation, caller: Caller, policy: Policy) -> _MessageOf:
    """What makes a message of arguments, in the context of whoever asks."""
    address, encode, next_id = operation.address, codec_for(operation.arguments).encode, caller.next_id
    keyed = bool(policy.idempotency_key)
    limit = _limit(operation, caller, policy)

    def message(kind: Kind, arguments: msgspec.Struct) -> Message:
        context = ambient.get()
        timeout = limit if context.deadline == FOREVER else min(limit, _time_left(context, address))
        headers = _headers(context.headers, policy) if keyed else context.headers
        return Message(kind, next_id(), address, timeout, headers, _encoded(encode, arguments, address))

    return message


def _limit(operation: Operation, caller: Caller, policy: Policy) -> float:
    return policy.timeout or operation.options.timeout or caller.timeout


def _asking(operation: Operation, caller: Caller, policy: Policy) -> Ask:
    # As `_asking_through` with `breaking` and `_messages`, written out: nothing else stands between most calls and
    # their transport, and each coroutine that does costs as much as the message.
    declared, address, codec = operation.options.faults, operation.address, codec_for(operation.result)
    breaker, host, transport = caller.breaker(address), caller.host, caller.transport
    direct, given_up = _called_at_once(transport, address)
    encode, decode, next_id = codec_for(operation.arguments).encode, codec.decode_raw, caller.next_id
    limit = _limit(operation, caller, policy)

    async def ask(arguments: msgspec.Struct) -> object:
        context = _ambient()
        timeout = limit if context.deadline == FOREVER else min(limit, _time_left(context, address))
        try:
            body = encode(arguments)
        except UNFIT as error:
            raise _out_of_range(error, arguments, address) from None
        if not breaker.closed:
            check(breaker, address, host)
        try:
            reply = await direct(next_id(), timeout, context.headers, body)
        except Fault as fault:
            failed(breaker, fault, host)
            raise
        except asyncio.CancelledError:
            given_up()
            raise
        body = reply if isinstance(reply, bytes) else _body_of(reply, declared, breaker, host)
        if breaker.closed:
            breaker.calls += 1
        else:
            breaker.record(failed=False, now=host.monotonic())
        try:
            return decode(body)
        except UNREADABLE:
            return _decoded(codec.decode, body, address)  # says why

    return ask


def _called_at_once(transport: Transport, address: str) -> tuple[Call, Callable[[], None]]:
    """How an operation is called with least, and what its transport is told when one who waits is cancelled."""
    if isinstance(transport, AsksAtOnce):
        return transport.calling(address), transport.given_up
    return by_message(transport.request, address), _nothing


def _nothing() -> None:
    """A request that is cancelled says so itself."""


def _body_of(reply: Message, declared: Sequence[type[Fault]], breaker: Breaker, host: Host) -> bytes:
    """The body of a reply. Raises the fault that it is, which the breaker is told of."""
    if reply.kind is FAULT:
        answered(breaker, reply, host)
        raise fault_in(reply, declared)
    return reply.body


def _asking_through(request: Handler, operation: Operation, message: _MessageOf) -> Ask:
    declared, address, decode = operation.options.faults, operation.address, codec_for(operation.result).decode

    async def ask(arguments: msgspec.Struct) -> object:
        reply = await request(message(_CALL, arguments))
        if reply.kind is FAULT:
            raise fault_in(reply, declared)
        return _decoded(decode, reply.body, address)

    return ask


def _ids(stem: str) -> Iterator[str]:
    """Names for messages: counted, in 16 ** 3 steps, as to format each number costs more than to make the message.

    Where none has to be formatted, nothing of it is interpreted.
    """
    return itertools.chain.from_iterable(map(f"{stem}-{high:x}".__add__, _LOW) for high in itertools.count())


def _encoded(encode: Callable[[object], bytes], arguments: msgspec.Struct, address: str) -> bytes:
    """Arguments in bytes. Raises `Invalid`."""
    try:
        return encode(arguments)
    except UNFIT as error:
        raise _out_of_range(error, arguments, address) from None


def _out_of_range(error: Exception, arguments: msgspec.Struct, address: str) -> Invalid:
    """An argument is of its type, but cannot travel: a number of more than 64 bits, a moment before year 1."""
    found = unfit(codec_for(type(arguments)).encode, arguments)
    return Invalid(f"an argument of {address} is out of range: {told(found) or error}", found)


def iterating(operation: Operation, caller: Caller, policy: Policy = Policy()) -> Items:  # noqa: B008 - frozen
    """How a streaming operation is called with a struct of arguments."""
    declared, address = operation.options.faults, operation.address
    encode, decode = codec_for(operation.arguments).encode, codec_for(operation.result).decode

    async def items(arguments: msgspec.Struct) -> AsyncIterator[object]:
        context = ambient.get()
        # A stream may last as long as it likes, but no longer than the work that reads it.
        timeout = min(policy.timeout or FOREVER, _time_left(context, address))
        limit = 0.0 if timeout == FOREVER else timeout
        body = _encoded(encode, arguments, address)
        message = Message(Kind.STREAM, caller.next_id(), address, limit, context.headers, body)
        async with closing(caller.stream(message)) as replies:
            async for reply in replies:
                if reply.kind is _ITEM:
                    yield _decoded(decode, reply.body, address)
                elif reply.kind is FAULT:
                    raise fault_in(reply, declared)
                else:
                    return

    return items


def _calling(operation: Operation, caller: Caller, policy: Policy) -> Callable[..., Awaitable[object]]:
    arguments = operation.arguments
    ask, begin = asking(operation, caller, policy)

    def call(*args: object, **kwargs: object) -> Awaitable[object]:
        # No names are the usual case, and to merge none of them costs as much as the struct.
        return ask(arguments(*args, **kwargs) if kwargs else arguments(*args))

    def post(*args: object, **kwargs: object) -> None:
        begin(arguments(*args, **kwargs))

    call.__name__, call.__doc__ = operation.name, operation.doc
    call.send = post  # type: ignore[attr-defined]
    call.__hanse_operation__ = operation  # type: ignore[attr-defined]
    return call


def _streaming(operation: Operation, caller: Caller, policy: Policy) -> Callable[..., AsyncIterator[object]]:
    arguments = operation.arguments
    items = iterating(operation, caller, policy)

    def stream(*args: object, **kwargs: object) -> AsyncIterator[object]:
        return items(arguments(*args, **kwargs))

    stream.__name__, stream.__doc__ = operation.name, operation.doc
    return stream


def _headers(headers: Headers, policy: Policy) -> Headers:
    return msgspec.structs.replace(headers, idempotency_key=policy.idempotency_key)
