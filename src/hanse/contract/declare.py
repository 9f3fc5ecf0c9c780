"""How users declare what a service promises: `Contract` classes and `@rpc`.

Wrong declarations fail where they are written, with what was expected, what came, and what to do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar, cast, overload

import msgspec

from hanse.contract.guard import Guard
from hanse.contract.model import Event, Resource
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Fault, Misdeclared, snake_case

F = TypeVar("F", bound=Callable[..., Any])


class Options(msgspec.Struct, frozen=True):
    """What `@rpc` says about an operation.

    Attributes:
        idempotent: Doing it twice is doing it once: it may be retried and hedged.
        timeout: Seconds that callers wait unless they say otherwise; None for the default of their node.
        route: An HTTP route of its own, such as `GET /stock/{sku}`; empty for none.
        allow: Who may call it; None where the gateway's exposure decides alone.
        faults: What it raises, for the documents.
        hedge: Callers make a call that is slow once more, elsewhere, and take the first answer.
    """

    idempotent: bool = False
    timeout: float | None = None
    route: str = ""
    allow: Guard | None = None
    faults: tuple[type[Fault], ...] = ()
    hedge: bool = False


@overload
def rpc(function: F, /) -> F: ...


@overload
def rpc(
    *,
    idempotent: bool = False,
    timeout: Duration | None = None,
    route: str = "",
    allow: Guard | None = None,
    faults: tuple[type[Fault], ...] = (),
    hedge: bool = False,
) -> Callable[[F], F]: ...


def rpc(  # noqa: PLR0913 - all that may be said of an operation, by name; most say nothing
    function: F | None = None,
    /,
    *,
    idempotent: bool = False,
    timeout: Duration | None = None,
    route: str = "",
    allow: Guard | None = None,
    faults: tuple[type[Fault], ...] = (),
    hedge: bool = False,
) -> F | Callable[[F], F]:
    """Mark a method as an operation that others may call.

    Args:
        function: The method, where the decorator is used bare: `async def` for one answer, `def` (or an async
            generator) returning `AsyncIterator` for a stream.
        idempotent: Doing it twice is doing it once: it may be retried and hedged.
        timeout: How long callers wait unless they say otherwise, such as `"2s"`.
        route: An HTTP route of its own, such as `GET /stock/{sku}`.
        allow: Who may call it, such as `scope("orders:write")`.
        faults: What it raises, for the documents; every fault crosses with its class, listed or not.
        hedge: Callers make a call that takes longer than nearly all others once more, elsewhere, and take the first
            answer; only for what is idempotent.

    Raises:
        Misdeclared: The method cannot be an operation.

    Example:
        >>> class Greeter(Contract, Protocol):
        ...     @rpc(idempotent=True, timeout="2s")
        ...     async def hello(self, name: str) -> str: ...
    """
    options = Options(
        idempotent=idempotent,
        timeout=None if timeout is None else seconds(timeout),
        route=route,
        allow=allow,
        faults=faults,
        hedge=hedge,
    )
    if hedge and not idempotent:
        raise Misdeclared("@rpc(hedge=True) may run an operation twice; say idempotent=True too, if that does no harm")

    def mark(method: F) -> F:
        _check(method)
        method.__hanse_rpc__ = options  # type: ignore[attr-defined]
        return method

    return mark if function is None else mark(function)


def options_of(method: object) -> Options | None:
    """What `@rpc` said about a method; None for a method that is no operation."""
    return cast("Options | None", getattr(method, "__hanse_rpc__", None))


def _check(method: Callable[..., Any]) -> None:
    name = getattr(method, "__qualname__", repr(method))
    if not inspect.isfunction(method):
        raise Misdeclared(f"@rpc goes on a method, but {name} is a {type(method).__name__}")
    answer = str(method.__annotations__.get("return", ""))
    streams = inspect.isasyncgenfunction(method) or "AsyncIterator" in answer or "AsyncGenerator" in answer
    if not inspect.iscoroutinefunction(method) and not streams:
        raise Misdeclared(
            f"the operation {name} is a plain `def`, which would block every other call while it runs; write "
            f"`async def` (and give slow work to a @cpu function), or return an AsyncIterator for a stream"
        )
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Misdeclared(f"{name} takes {parameter}, which has no schema; name every argument of an operation")
        if parameter.annotation is parameter.empty:
            raise Misdeclared(f"the argument {parameter.name!r} of {name} has no type; write `{parameter.name}: str`")
    if "return" not in method.__annotations__:
        raise Misdeclared(f"{name} does not say what it returns; write `-> None` if nothing")


class Promise(msgspec.Struct, frozen=True):
    """What the class keywords of a contract say."""

    name: str
    version: str
    events: tuple[type[Event], ...]
    resources: tuple[type[Resource], ...]


class Contract(Protocol):
    """The base of what a service promises: a `Protocol` whose `@rpc` methods are the operations.

    It is the only thing that another team imports. Class keywords: `version` (such as `"1.4"`), `name` (by default
    the class name in snake case), `events` that the service emits and `resources` that it owns, for the documents.

    Example:
        >>> class Inventory(Contract, Protocol, version="1.4"):
        ...     @rpc
        ...     async def reserve(self, sku: str, quantity: int) -> str: ...
    """

    __hanse_promise__: ClassVar[Promise]

    def __init_subclass__(
        cls,
        *,
        version: str = "1",
        name: str = "",
        events: tuple[type[Event], ...] = (),
        resources: tuple[type[Resource], ...] = (),
    ) -> None:
        super().__init_subclass__()
        if not is_contract(cls):
            return
        cls.__hanse_promise__ = Promise(name or snake_case(cls.__name__), version, events, resources)
        for member, method in vars(cls).items():
            if inspect.isfunction(method) and not member.startswith("_") and options_of(method) is None:
                raise Misdeclared(
                    f"{cls.__name__}.{member} is in a contract but has no @rpc; "
                    f"add it, or move the method to the service"
                )


def is_contract(cls: type) -> bool:
    """Whether a class is a contract: it names both `Contract` (or another contract) and `Protocol` as bases."""
    return Protocol in cls.__bases__ and Contract in cls.__mro__ and cls is not Contract
