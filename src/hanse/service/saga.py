"""`@saga`: a method whose steps take effect once, whatever dies on the way, or are undone, the last one first.

The method is ordinary code, and is run again from its beginning wherever a saga has to go on after a crash. What its
steps came to is in a journal, so that they are not done again; each stands there under a name, of the branch that the
step belongs to, of what it calls, and of a number where that is called more than once. No name depends on timing, so
steps may run side by side. All that the code learns from the world it learns through its `Saga`.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import lru_cache, wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, final, overload

import msgspec

from hanse.contract.derive import Operation
from hanse.contract.model import Event, topic_of
from hanse.kernel.codec import canonical
from hanse.kernel.context import current
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misdeclared
from hanse.kernel.hints import hints_of

S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A")
E = TypeVar("E", bound=Event)
P = ParamSpec("P")
Call = Callable[..., Awaitable[Any]]

SAGA_SECONDS = 86_400.0
"""How long a saga goes forward, unless it says otherwise; then its way back begins."""

EVENT_SECONDS = 86_400.0
"""How long an event is waited for, unless one says otherwise."""

STEPS_MAX = 10_000
"""Steps of one saga: all of them are read again when it is resumed."""


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


class Asked(msgspec.Struct, frozen=True, eq=False):
    """A step, as the code asks for it.

    Attributes:
        name: Within the saga.
        call: An operation of a typed client, or a method.
        args, kwargs: For it.
        undo: Undoes it, given what it came to.
        undo_keyed: Whether that calls an operation, under a key.
        timeout: Seconds that it may take with all its attempts; None for as long as the saga has.
    """

    name: str
    call: Call
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    undo: Callable[[Any], Awaitable[object]] | None = None
    undo_keyed: bool = False
    timeout: float | None = None

    @property
    def operation(self) -> Operation | None:
        """The operation of a typed client that it calls; None for a method."""
        return cast("Operation | None", getattr(self.call, "__hanse_operation__", None))

    @property
    def result(self) -> Any:  # noqa: ANN401 - a type, or a form of one
        """The type of what it comes to."""
        operation = self.operation
        return operation.result if operation is not None else _result_of(getattr(self.call, "__func__", self.call))

    @property
    def digest(self) -> str:
        """A hash of its arguments; empty where they cannot be told in bytes."""
        try:
            return hashlib.sha256(canonical((self.args, dict(self.kwargs)))).hexdigest()[:16]
        except (TypeError, NotImplementedError, OverflowError):
            return ""


class Logbook(Protocol):
    """One run of a saga: does what its code asks for, or tells what came of it already."""

    @property
    def id(self) -> str:
        """Of the saga."""
        ...

    async def step(self, asked: Asked, /) -> object:
        """Do a step, once in effect; what it came to."""
        ...

    async def sleep(self, name: str, seconds: float, /) -> None:
        """Wait; also across restarts."""
        ...

    async def event(
        self, name: str, kind: type[Event], where: Callable[[Any], bool] | None, timeout: float, /
    ) -> Event:
        """The first event that matches and that no other wait of the saga was given."""
        ...

    async def now(self, name: str, /) -> float:
        """The wall clock, at the first time of asking."""
        ...


@final
class Step(Generic[T]):
    """A step that is asked for; await it for what it comes to.

    Example:
        >>> async def main(s: Saga, charge: Callable[[int], Awaitable[str]], refund: Callable[[str], Awaitable[None]]):
        ...     receipt = await s.step(charge, 500).within("1m").undo(refund)
    """

    __slots__ = ("_asked", "_names", "_saga")

    def __init__(self, saga: Saga, names: _Names, asked: Asked) -> None:
        self._saga = saga
        self._names = names
        self._asked = asked

    @overload
    def undo(self, call: Callable[[T], Awaitable[object]], /) -> Step[T]: ...

    @overload
    def undo(
        self, call: Callable[Concatenate[A, P], Awaitable[object]], first: A, /, *args: P.args, **kwargs: P.kwargs
    ) -> Step[T]: ...

    def undo(self, call: Call, /, *args: Any, **kwargs: Any) -> Step[T]:
        """Say what undoes the step, should the saga turn back after it.

        Args:
            call: An operation of a typed client, a method, or a lambda around one of them.
            *args: For it; where there are none, it is given what the step came to.
            **kwargs: As well.
        """

        def with_arguments(_: object) -> Awaitable[object]:
            return call(*args, **kwargs)

        undo: Call = with_arguments if args or kwargs else call
        # A method is a unit of work, and may make the same call twice; so what it calls has no key of the step's.
        keyed = hasattr(call, "__hanse_operation__") or getattr(call, "__name__", "") == "<lambda>"
        self._asked = msgspec.structs.replace(self._asked, undo=undo, undo_keyed=keyed)
        return self

    def within(self, timeout: Duration, /) -> Step[T]:
        """Limit how long the step may take with all its attempts; then it fails with `DeadlineExceeded`."""
        self._asked = msgspec.structs.replace(self._asked, timeout=seconds(timeout))
        return self

    def named(self, name: str, /) -> Step[T]:
        """Give the step a name of its own in the journal, which stays when what it calls is renamed."""
        self._names.give_back(self._asked.name)
        self._asked = msgspec.structs.replace(self._asked, name=self._names.take(name))
        return self

    def __await__(self) -> Generator[Any, Any, T]:
        return cast("Generator[Any, Any, T]", self._saga.logbook.step(self._asked).__await__())


@final
class Saga:
    """What the code of a saga does its steps with, and all that it may learn from the world.

    Example:
        >>> async def place(s: Saga, reserve: Callable[[str], Awaitable[str]]) -> str:
        ...     return await s.step(reserve, "tea").within("10s")
    """

    def __init__(self, logbook: Logbook | None = None, *, branch: str = "") -> None:
        """A saga by hand, for unit tests: its steps are called, and nothing is kept; a node makes others.

        Args:
            logbook: What does the steps.
            branch: Begins the names of its steps.
        """
        self.logbook: Logbook = logbook or ByHand()
        self._names = _Names(branch)
        self._branch = branch

    @property
    def id(self) -> str:
        """Of the saga: the same at every run, and another for every saga."""
        return self.logbook.id

    def step(self, call: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Step[T]:
        """Do something, once in effect: call an operation of a typed client, or run a method as a unit of work.

        An operation is called under an idempotency key. What a method writes is committed with the journal; it has to
        say what it returns. Silence and overload are waited for, as long as the saga has time.

        Args:
            call: The operation, or the method.
            *args: For it.
            **kwargs: For it.

        Raises:
            Fault: When awaited: what the operation or the method raised; uncaught, the way back begins.
            Misdeclared: It has no name, or does not say what it returns; or steps of one branch run side by side.
        """
        operation: Operation | None = getattr(call, "__hanse_operation__", None)
        name = operation.address if operation is not None else _name_of(call)
        return Step(self, self._names, Asked(self._names.take(name), call, args, kwargs))

    def branch(self, name: str, /) -> Saga:
        """The same saga for code that runs beside other code, with names of its own: one branch for each.

        Example: `await asyncio.gather(*(self._ship(s.branch(item.sku), item) for item in items))`
        """
        return Saga(self.logbook, branch=f"{self._names.take(name)}/")

    def sleep(self, duration: Duration, /) -> Awaitable[None]:
        """Wait; a restart does not begin the wait anew."""
        return self.logbook.sleep(self._names.take("sleep"), seconds(duration))

    def event(
        self, kind: type[E], /, *, where: Callable[[E], bool] | None = None, timeout: Duration = EVENT_SECONDS
    ) -> Awaitable[E]:
        """Wait for an event; one that came earlier, but after the saga began, is not missed. Each is given once.

        Args:
            kind: One of those that `@saga(events=...)` lists.
            where: Which of them.
            timeout: How long to wait.

        Raises:
            DeadlineExceeded: None came in time.
            Misdeclared: `@saga(events=...)` does not list it.
        """
        waited = self.logbook.event(self._names.take(topic_of(kind)), kind, where, seconds(timeout))
        return cast("Awaitable[E]", waited)

    def now(self) -> Awaitable[float]:
        """The wall clock, in seconds since 1970; the same when the code is run again."""
        return self.logbook.now(self._names.take("now"))

    def new_id(self) -> str:
        """An id that nothing else has; the same when the code is run again."""
        return _digest(self.id, self._names.take("id"))

    def random(self) -> float:
        """A draw from 0 to 1; the same when the code is run again."""
        return int(_digest(self.id, self._names.take("random"))[:13], 16) / 16**13


class _Names:
    """Names for what one branch asks for, in its order: the same name for the same thing at every run."""

    def __init__(self, branch: str) -> None:
        self._branch = branch
        self._taken: dict[str, int] = {}
        self._steps = 0
        self._task: asyncio.Task[Any] | None = None

    def take(self, name: str) -> str:
        """The name of the next thing of this kind.

        Raises:
            Misdeclared: Tasks of one branch ask, so that timing decides who is first; or there are too many.
        """
        self._check()
        count = self._taken[name] = self._taken.get(name, 0) + 1
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise Misdeclared(f"a saga has more than {STEPS_MAX} steps; begin another one for the rest")
        return f"{self._branch}{name}" if count == 1 else f"{self._branch}{name}#{count}"

    def give_back(self, name: str) -> None:
        """The name that was taken last is not needed."""
        bare = name.removeprefix(self._branch).partition("#")[0]
        self._taken[bare] -= 1

    def _check(self) -> None:
        task = asyncio.current_task()
        if self._task is None:
            self._task = task
        elif self._task is not task:
            where = f"the branch {self._branch[:-1]!r}" if self._branch else "the saga"
            raise Misdeclared(
                f"steps of {where} are asked for by two tasks, whose order may differ the next time; "
                f"give each a branch of its own: `s.branch('name')`"
            )


class ByHand:
    """A logbook that keeps nothing: steps are called as they come."""

    def __init__(self) -> None:
        self.id: str = current().host.new_id()
        self._undos: list[Callable[[], Awaitable[object]]] = []

    async def step(self, asked: Asked, /) -> object:
        """Do a step."""
        result = await asked.call(*asked.args, **asked.kwargs)
        if (undo := asked.undo) is not None:
            self._undos.append(lambda: undo(result))
        return result

    async def sleep(self, name: str, seconds: float, /) -> None:
        """Wait."""
        del name
        await asyncio.sleep(seconds)

    async def event(
        self, name: str, kind: type[Event], where: Callable[[Any], bool] | None, timeout: float, /
    ) -> Event:
        """Nobody tells events to a service that was constructed by hand."""
        del kind, where, timeout
        raise Misdeclared(
            f"{name} is waited for, but nobody tells events to a saga by hand; run it on a Node, or in a world"
        )

    async def now(self, name: str, /) -> float:
        """The wall clock."""
        del name
        return current().host.now()

    async def undo(self) -> None:
        """Undo what was done, the last step first."""
        while self._undos:
            _ = await self._undos.pop()()


class Runs(Protocol):
    """What a node gives to a service: its sagas, as they are begun."""

    async def call(self, pinned: Pinned, arguments: Mapping[str, object], /) -> object:
        """Begin a saga, and wait for its end."""
        ...


Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]
Body = Callable[Concatenate[S, Saga, P], Coroutine[Any, Any, T]]


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


def sagas_of(cls: type) -> list[Pinned]:
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


def _name_of(call: Callable[..., object]) -> str:
    name = str(getattr(call, "__name__", "")).lstrip("_")
    if not name or name == "<lambda>":
        raise Misdeclared(
            "a step is an operation of a typed client, such as `s.step(self.payments.charge, 500)`, or a method that "
            f"says what it returns; got {call!r}"
        )
    return name


@lru_cache(maxsize=4096)
def _result_of(call: Callable[..., object]) -> object:
    hints = hints_of(call, f"a type hint of {call!r}")
    if "return" not in hints:
        raise Misdeclared(f"{_name_of(call)} is a step, but does not say what it returns; write `-> None` if nothing")
    return hints["return"]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
