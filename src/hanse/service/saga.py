"""What the code of a `@saga` holds in hand: a method whose steps take effect once, or are undone, the last one first.

The method is ordinary code, and is run again from its beginning wherever a saga has to go on after a crash. What its
steps came to is in a journal, so that they are not done again; each stands there under a name, of the branch that the
step belongs to, of what it calls, and of a number where that is called more than once. No name depends on timing, so
steps may run side by side. All that the code learns from the world it learns through its `Saga`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, final, overload

import msgspec

from hanse.contract.derive import Operation
from hanse.contract.model import Event, topic_of
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misdeclared
from hanse.service.logbook import Asked, ByHand, Call, Logbook, name_of

T = TypeVar("T")
A = TypeVar("A")
E = TypeVar("E", bound=Event)
P = ParamSpec("P")

EVENT_SECONDS = 86_400.0
"""How long an event is waited for, unless one says otherwise."""

STEPS_MAX = 10_000
"""Steps of one saga: all of them are read again when it is resumed."""


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
        name = operation.address if operation is not None else name_of(call)
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
        self._counts: dict[str, int] = {}
        # What each name that somebody has was made of: two steps of one name would be one to the journal.
        self._taken: dict[str, str] = {}
        self._steps = 0
        self._task: asyncio.Task[Any] | None = None

    def take(self, name: str) -> str:
        """The name of the next thing of this kind.

        Raises:
            Misdeclared: Tasks of one branch ask, so that timing decides who is first; or there are too many.
        """
        self._check()
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise Misdeclared(f"a saga has more than {STEPS_MAX} steps; begin another one for the rest")
        count = self._counts.get(name, 0) + 1
        while (told := f"{self._branch}{name}" if count == 1 else f"{self._branch}{name}#{count}") in self._taken:
            count += 1
        self._counts[name], self._taken[told] = count, name
        return told

    def give_back(self, name: str) -> None:
        """A name is not needed; the next thing of its kind may have it."""
        self._counts[self._taken.pop(name)] -= 1

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


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
