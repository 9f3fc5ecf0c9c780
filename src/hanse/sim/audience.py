"""Those who look on in one world: each is told only of what it has asked to hear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import final

from hanse.kernel.message import Message
from hanse.sim.check import Observer
from hanse.store.base import Batch

Committed = Callable[[str, str, Batch, tuple[int, ...]], None]


@final
class Audience:
    """The observers of a world; one that overrides nothing of a kind is never called for it.

    Example:
        >>> class Counter(Observer):
        ...     passed_points = 0
        ...     def passed(self, machine: str, point: str) -> None:
        ...         self.passed_points += 1
        >>> audience, counter = Audience(), Counter()
        >>> audience.append(counter)
        >>> audience.passed("orders", "unit.before_commit")
        >>> counter.passed_points
        1
    """

    def __init__(self) -> None:
        """Nobody looks on yet."""
        self._members: list[Observer] = []
        self._committed: list[Committed] = []
        self._acknowledged: list[Committed] = []
        self._said: list[Callable[[str, str, Message, Message | None], None]] = []
        self._passed: list[Callable[[str, str], None]] = []

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def append(self, observer: Observer) -> None:
        """Somebody joins; what has happened by now, nobody tells."""
        kind = type(observer)
        self._members.append(observer)
        # What happens thousands of times in a second is told to those only who do anything about it.
        if kind.committed is not Observer.committed:
            self._committed.append(observer.committed)
        if kind.acknowledged is not Observer.acknowledged:
            self._acknowledged.append(observer.acknowledged)
        if kind.said is not Observer.said:
            self._said.append(observer.said)
        if kind.passed is not Observer.passed:
            self._passed.append(observer.passed)

    def extend(self, observers: Iterable[Observer]) -> None:
        """Some join."""
        for observer in observers:
            self.append(observer)

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """See `Observer.committed`."""
        for tell in self._committed:
            tell(machine, path, batch, positions)

    def acknowledged(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """See `Observer.acknowledged`."""
        for tell in self._acknowledged:
            tell(machine, path, batch, positions)

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """See `Observer.said`."""
        for tell in self._said:
            tell(source, target, message, asked)

    def passed(self, machine: str, point: str) -> None:
        """See `Observer.passed`."""
        for tell in self._passed:
            tell(machine, point)
