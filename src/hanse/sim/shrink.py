"""Makes a failing plan small: fewer incidents, shorter, milder, as far as the run still fails.

Delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input, 2002), and then each incident by
itself. It works because incidents are independent: taking one out of a plan changes nothing else that is drawn. Pure
but for the question whether a plan fails, which the caller answers by running it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, final

import msgspec

from hanse.sim.plan import (
    DOWN_SECONDS,
    Clock,
    Cut,
    Delay,
    Incident,
    Kill,
    Loss,
    LostFlush,
    Plan,
    PowerLoss,
    Repeat,
    SlowDisk,
)

T = TypeVar("T")

RUNS_MAX = 300
"""Runs that one shrinking takes at most; what was found until then is the result."""

SECONDS_MIN = 0.05
"""Incidents are made no shorter than this."""

FACTOR_MIN = 2.0
"""Disks are made no faster than this many times as slow."""

JUMP_MIN = 1.0
"""Seconds; jumps of a wall clock are made no smaller."""

DELAY_MIN = 0.01
"""Seconds; delays are made no shorter."""

SHARE_MIN = 0.01
"""Shares of packets lost or repeated are made no smaller."""

Fails = Callable[[Plan, bool], bool]
"""Whether a run under a plan, and under calm weather or not, fails in the way that is looked for."""


class Shrunk(msgspec.Struct, frozen=True):
    """What is left of a plan.

    Attributes:
        plan: The incidents that it takes; the run fails under them.
        calm_weather: Whether it fails in calm weather too, which is then the weather that `plan` fails under.
        runs: How many were made.
        complete: Whether nothing more can be taken away; without it, the runs were over before that was known.
    """

    plan: Plan
    calm_weather: bool
    runs: int
    complete: bool


def shrink(items: Plan, fails: Fails, runs_max: int = RUNS_MAX, *, calm: bool = False) -> Shrunk:
    """The smallest plan that can be found that still fails.

    The same plan is never run twice, and the same question has the same answer, so the result is the same each time.

    Args:
        items: A plan under which the run failed.
        fails: Runs a plan.
        runs_max: How often `fails` may be asked.
        calm: Whether it failed in calm weather; then no other is asked for.

    Example:
        >>> plan = tuple(Kill(at=float(at), seconds=4.0, machine="orders") for at in range(1, 9))
        >>> shrunk = shrink(plan, lambda plan, calm: any(incident.at == 3.0 for incident in plan))
        >>> shrunk.plan, shrunk.calm_weather
        ((Kill(at=3.0, seconds=0.05, machine='orders'),), True)
    """
    search = _Search(items, fails, runs_max, calm=calm)
    if not (search.accept((), calm=True) or search.accept((), calm=calm)):
        search.accept(items, calm=True)
        search.reduce()
        # A smaller plan may fail where the whole one did something else first.
        if not search.calm and search.accept(search.plan, calm=True):
            search.reduce()
    return Shrunk(search.plan, search.calm, search.runs, search.complete)


def minimised(items: Sequence[T], fails: Callable[[tuple[T, ...]], bool]) -> tuple[T, ...]:
    """Some of the items that still fail, none of which can be left out (by itself) any more.

    Args:
        items: All of them, which fail together.
        fails: Whether some of them do, in their order.

    Example:
        >>> minimised("abcdef", lambda some: {"b", "e"} <= {*some})
        ('b', 'e')
    """
    left: tuple[T, ...] = tuple(items)
    parts = 2
    while left:
        smaller = next((some for some in _without_a_part(left, parts) if fails(some)), None)
        if smaller is not None:
            left, parts = smaller, max(parts - 1, 2)
        elif parts < len(left):
            parts = min(2 * parts, len(left))
        else:
            break
    return left


def milder(incident: Incident) -> Iterator[Incident]:
    """The same incident with one thing about it less bad, the mildest first; nothing where it is as mild as it gets.

    Example:
        >>> [kill.seconds for kill in milder(Kill(at=1.0, seconds=4.0, machine="orders"))]
        [0.05, 2.0]
    """
    for seconds in _halved(incident.seconds, SECONDS_MIN):
        yield msgspec.structs.replace(incident, seconds=seconds)
    match incident:
        case LostFlush():
            yield PowerLoss(at=incident.at + incident.seconds, seconds=DOWN_SECONDS, machine=incident.machine)
        case PowerLoss():
            yield Kill(at=incident.at, seconds=incident.seconds, machine=incident.machine)
        case Cut():
            yield from _narrower(incident)
        case SlowDisk():
            yield from _less(incident, "factor", FACTOR_MIN)
        case Clock():
            yield from _less(incident, "jump", JUMP_MIN)
        case Delay():
            if incident.reorder:
                yield msgspec.structs.replace(incident, reorder=False)
            yield from _less(incident, "most", DELAY_MIN)
        case Loss() | Repeat():
            yield from _less(incident, "share", SHARE_MIN)
        case _:
            pass


@final
class _Search:
    """The best plan so far, and what is known about others."""

    def __init__(self, plan: Plan, fails: Fails, runs_max: int, *, calm: bool) -> None:
        self.plan: Plan = plan
        self.calm: bool = calm
        self.runs: int = 0
        self.complete: bool = True
        self._fails = fails
        self._runs_max = runs_max
        self._known: dict[tuple[Plan, bool], bool] = {(plan, calm): True}

    def accept(self, plan: Plan, *, calm: bool) -> bool:
        """Go on from a plan, if it fails."""
        if not self._asked(plan, calm):
            return False
        self.plan, self.calm = plan, calm
        return True

    def reduce(self) -> None:
        """Leave out what need not be there, and make the rest as mild as it may be; again, while that helps."""
        before = None
        while before != self.plan:
            before = self.plan
            self.plan = minimised(self.plan, lambda plan: self._asked(plan, self.calm))
            for place in range(len(self.plan)):
                while self._eased(place):
                    pass

    def _eased(self, place: int) -> bool:
        before, after = self.plan[:place], self.plan[place + 1 :]
        return any(
            self.accept(tuple(sorted((*before, easy, *after), key=_begin)), calm=self.calm)
            for easy in milder(self.plan[place])
        )

    def _asked(self, plan: Plan, calm: bool) -> bool:  # noqa: FBT001 - asked as its caller is
        known = self._known.get((plan, calm))
        if known is None:
            if self.runs >= self._runs_max:
                self.complete = False
                return False
            self.runs += 1
            known = self._known[plan, calm] = self._fails(plan, calm)
        return known


def _begin(incident: Incident) -> float:
    return incident.at


def _without_a_part(items: tuple[T, ...], parts: int) -> Iterator[tuple[T, ...]]:
    """The items without one of the parts each; the last part first, as what comes late is rarely why."""
    edges = [len(items) * part // parts for part in range(parts + 1)]
    for part in reversed(range(parts)):
        if edges[part] < edges[part + 1]:
            yield items[: edges[part]] + items[edges[part + 1] :]


def _halved(value: float, least: float) -> tuple[float, ...]:
    """Less of a number, either sign: the least that it may be, and half of it."""
    size = abs(value)
    if size <= least:
        return ()
    sign = 1.0 if value > 0.0 else -1.0
    half = round(size / 2, 4)
    return (sign * least, sign * half) if half > least else (sign * least,)


def _less(incident: SlowDisk | Clock | Delay | Loss | Repeat, field: str, least: float) -> Iterator[Incident]:
    for value in _halved(getattr(incident, field), least):
        yield msgspec.structs.replace(incident, **{field: value})


def _narrower(cut: Cut) -> Iterator[Cut]:
    """The cut between fewer machines."""
    for side in ("machines", "others"):
        names: tuple[str, ...] = getattr(cut, side)
        if len(names) > 1:
            for name in names:
                yield msgspec.structs.replace(cut, **{side: tuple(other for other in names if other != name)})
