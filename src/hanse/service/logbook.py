"""What does the steps of a saga: the code asks a logbook, which does them or tells what came of them already.

A node has one that keeps a journal. A saga that is run by hand, for unit tests, has one that keeps nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, cast

import msgspec

from hanse.contract.derive import Operation
from hanse.contract.model import Event
from hanse.kernel.codec import canonical
from hanse.kernel.context import current
from hanse.kernel.faults import Misdeclared
from hanse.kernel.hints import hints_of

Call = Callable[..., Awaitable[Any]]


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


def name_of(call: Callable[..., object]) -> str:
    """What a step that calls this is called.

    Raises:
        Misdeclared: It has no name.
    """
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
        raise Misdeclared(f"{name_of(call)} is a step, but does not say what it returns; write `-> None` if nothing")
    return hints["return"]
