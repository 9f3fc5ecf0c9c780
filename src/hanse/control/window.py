"""What is told to a judge: what came of the requests and messages of two releases within a few seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import msgspec

OTHERS = "(others)"
"""The name that what comes after the first so many routes or instances is counted under."""


class Outcomes(msgspec.Struct, frozen=True):
    """What came of requests, or of messages. Each story counts once, however often it was tried.

    Attributes:
        asked: Requests answered, or messages handled; or not, as the case may be.
        failed: Answered with 500 and more, not in time, not as the contract says; messages: not handled, or parked.
        timed: Those of which it is known how long they took.
        slow: Of these, those that took longer than nineteen of twenty of the old release's before the rollout.
        slowest: The same for ninety-nine of a hundred.
    """

    asked: int = 0
    failed: int = 0
    timed: int = 0
    slow: int = 0
    slowest: int = 0

    def __add__(self, other: Outcomes) -> Outcomes:
        """Both together."""
        return Outcomes(
            self.asked + other.asked,
            self.failed + other.failed,
            self.timed + other.timed,
            self.slow + other.slow,
            self.slowest + other.slowest,
        )


class Both(msgspec.Struct, frozen=True):
    """What came of one route, or of one type of messages, by release and instance.

    Attributes:
        new, old: Of each instance, by its id.
    """

    new: dict[str, Outcomes] = {}
    old: dict[str, Outcomes] = {}

    def __add__(self, other: Both) -> Both:
        """Both together."""
        return Both(_sum(self.new, other.new), _sum(self.old, other.old))

    @property
    def compares(self) -> bool:
        """Whether both were asked, or keep somebody waiting: else one says nothing of the other."""
        return all(any(one.asked or one.timed for one in side.values()) for side in (self.new, self.old))


class Condition(msgspec.Struct, frozen=True):
    """How the instances of one release are.

    Attributes:
        crashing: Those that crash again and again.
        killed: Those that the system killed as they took too much memory.
        unready: Seconds for which those that were ready have not been, by instance.
        contract_broken: Answers within this window that did not fit the contract.
        dead_letters: Messages within this window that were parked.
        restarts: Ends within this window that nobody had asked for.
        memory: Bytes in use, by instance.
        memory_max: Bytes that each may use; 0 where nobody knows.
        cpu: Processors in use, by instance: 1.0 is all of one.
        cpu_max: Processors that each may use for long; 0 where nobody says.
        lag: Seconds by which an event loop was late, at the worst.
    """

    crashing: tuple[str, ...] = ()
    killed: tuple[str, ...] = ()
    unready: dict[str, float] = {}
    contract_broken: int = 0
    dead_letters: int = 0
    restarts: int = 0
    memory: dict[str, float] = {}
    memory_max: float = 0.0
    cpu: dict[str, float] = {}
    cpu_max: float = 0.0
    lag: float = 0.0


class Window(msgspec.Struct, frozen=True):
    """All that came of a few seconds: one is enough where there is much traffic, and nothing is gained by more than 5.

    Attributes:
        at: Seconds at its end since the rollout began, by a clock that nobody sets.
        routes: By name of a route or a type of messages.
        new, old: How the instances of both are.
    """

    at: float
    routes: dict[str, Both] = {}
    new: Condition = Condition()
    old: Condition = Condition()


def total(outcomes: Iterable[Outcomes]) -> Outcomes:
    """All together."""
    return sum(outcomes, Outcomes())


def folded(routes: Mapping[str, Both], known: Iterable[str], limit: int) -> dict[str, Both]:
    """Routes, of which those that are new and beyond a limit are counted as one.

    Example:
        >>> sorted(folded({"a": Both(), "b": Both(), "c": Both()}, ["b"], 2))
        ['(others)', 'a', 'b']
    """
    names = set(known)
    names.update(islice((route for route in sorted(routes) if route not in names), max(0, limit - len(names))))
    found: dict[str, Both] = {}
    for route, both in routes.items():
        name = route if route in names else OTHERS
        found[name] = found[name] + both if name in found else both
    return found


def _sum(some: Mapping[str, Outcomes], others: Mapping[str, Outcomes]) -> dict[str, Outcomes]:
    names = dict.fromkeys((*some, *others))
    return {name: some.get(name, Outcomes()) + others.get(name, Outcomes()) for name in names}
