"""`@saga`: what it says about a method, and what a service declares of its sagas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from hanse.contract.model import Event
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misdeclared
from hanse.kernel.hints import hints_of
from hanse.service.logbook import ByHand, Call
from hanse.service.saga import Saga

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")

SAGA_SECONDS = 86_400.0
"""How long a saga goes forward, unless it says otherwise; then its way back begins."""

Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]
Body = Callable[Concatenate[S, Saga, P], Coroutine[Any, Any, T]]


class Pinned(msgspec.Struct, frozen=True):
    """What `@saga` says about a method.

    Attributes:
        name: The method that it is a version of.
        version: Which one.
        timeout: Seconds for its way forward.
        events: What its code may wait for.
        body: The code.
    """

    name: str
    version: int
    timeout: float
    events: tuple[type[Event], ...]
    body: Callable[..., Coroutine[Any, Any, Any]]


class Runs(Protocol):
    """What a node gives to a service: its sagas, as they are begun."""

    async def call(self, pinned: Pinned, arguments: Mapping[str, object], /) -> object:
        """Begin a saga, and wait for its end."""
        ...


@overload
def saga(method: Body[S, P, T], /) -> Method[S, P, T]: ...


@overload
def saga(
    *, version: int = 1, of: str = "", timeout: Duration = SAGA_SECONDS, events: tuple[type[Event], ...] = ()
) -> Callable[[Body[S, P, T]], Method[S, P, T]]: ...


def saga(
    method: Any = None,
    /,
    *,
    version: int = 1,
    of: str = "",
    timeout: Duration = SAGA_SECONDS,
    events: tuple[type[Event], ...] = (),
) -> Any:
    """Make a saga of a method: its steps take effect once, and are undone, the last one first, when it fails.

    The method takes a `Saga` before its arguments; its callers do not. A call begins a saga, once for one idempotency
    key, and waits for its end; who stops waiting stops nothing. Its code may end a day later on another machine, so it
    reads, writes and calls in steps only.

    Args:
        method: The method, where the decorator is used bare.
        version: Of the code; give it a new one when the order of its steps changes. Sagas end with the version that
            they began with.
        of: For a method that is kept for this: the method whose older version it is. Nothing begins with it.
        timeout: How long it goes forward; then it turns back.
        events: What its code waits for.

    Raises:
        Misdeclared: The method cannot be a saga.

    Example:
        >>> import asyncio
        >>> class Orders:
        ...     @saga
        ...     async def place(self, s: Saga, sku: str) -> str:
        ...         return await s.step(self._reserve, sku).undo(self._release)
        ...     async def _reserve(self, sku: str) -> str:
        ...         return f"a hold on {sku}"
        ...     async def _release(self, hold: str) -> None: ...
        >>> asyncio.run(Orders().place("tea"))
        'a hold on tea'
    """

    def mark(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        signature = _checked(method, version)
        pinned = Pinned(of or method.__name__, version, seconds(timeout), events, method)

        @wraps(method)
        async def begin(self: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the method has it
            runs: Runs | None = getattr(self, "__dict__", {}).get("_sagas")
            if runs is None or of:
                return await _by_hand(method, self, args, kwargs)
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            return await runs.call(pinned, dict(list(bound.arguments.items())[1:]))

        first = list(inspect.signature(method).parameters)[1]
        begin.__signature__ = signature  # type: ignore[attr-defined]
        begin.__annotations__ = {name: hint for name, hint in method.__annotations__.items() if name != first}
        begin.__hanse_saga__ = pinned  # type: ignore[attr-defined]
        return begin

    return mark if method is None else mark(method)


def pinned_of(method: object) -> Pinned | None:
    """What `@saga` said about a method; None for one that is no saga."""
    return cast("Pinned | None", getattr(method, "__hanse_saga__", None))


def pinned_in(cls: type) -> list[Pinned]:
    """The sagas of a service, with their older versions.

    Raises:
        Misdeclared: Two methods are one version of one saga, or an older version is of no method.
    """
    methods = {name: method for base in reversed(cls.__mro__) for name, method in vars(base).items()}
    found = {name: pinned for name, method in methods.items() if (pinned := pinned_of(method)) is not None}
    taken: dict[tuple[str, int], str] = {}
    for method, pinned in found.items():
        if pinned.name not in found:
            raise Misdeclared(
                f"{cls.__name__}.{method} is @saga(of={pinned.name!r}), but {cls.__name__} has no saga of that name"
            )
        other = taken.setdefault((pinned.name, pinned.version), method)
        if other != method:
            raise Misdeclared(
                f"{cls.__name__}.{other} and {method} are both version {pinned.version} of {pinned.name}; "
                f"give the newer one a higher `@saga(version=...)`"
            )
    return list(found.values())


@lru_cache(maxsize=4096)
def arguments_of(pinned: Pinned) -> type[msgspec.Struct]:
    """A struct with the arguments of a saga as fields: what is kept of a call.

    Raises:
        Misdeclared: A hint names something that does not exist.
    """
    body = pinned.body
    hints = hints_of(body, f"a type hint of {body.__qualname__}")
    fields = [
        (one.name, hints.get(one.name, Any), msgspec.NODEFAULT if one.default is one.empty else one.default)
        for one in list(inspect.signature(body).parameters.values())[2:]
    ]
    return msgspec.defstruct(f"{body.__name__}_arguments", fields, frozen=True, module=body.__module__)


def result_of(pinned: Pinned) -> Any:  # noqa: ANN401 - a type, or a form of one
    """The type of what a saga comes to."""
    return hints_of(pinned.body, f"a type hint of {pinned.body.__qualname__}").get("return", Any)


async def _by_hand(method: Call, self: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """Run a saga of a service that no node hosts: nothing is kept, and a failure undoes what was done."""
    book = ByHand()
    try:
        return await method(self, Saga(book), *args, **kwargs)
    except Exception:
        await book.undo()
        raise


def _checked(method: Callable[..., Any], version: int) -> inspect.Signature:
    """The signature that callers see."""
    name = getattr(method, "__qualname__", repr(method))
    if not inspect.iscoroutinefunction(method):
        raise Misdeclared(f"{name} is a saga, so it has to be `async def`")
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    if len(parameters) < 2 or "Saga" not in str(parameters[1].annotation):  # noqa: PLR2004 - self, and the saga
        raise Misdeclared(f"{name} is a saga, so its first argument has to be `s: Saga`")
    if version < 1:
        raise Misdeclared(f"{name} has the version {version}; versions of a saga begin with 1")
    return signature.replace(parameters=[parameters[0], *parameters[2:]])
