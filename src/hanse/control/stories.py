"""Counts what came of requests so that each count stands by itself: who tries again and again counts once.

A statistician's request is independent of all others, a real one is not. Somebody whose account is broken fails at
everything, and with sticky sessions all of it happens to one release. So people are counted and not requests: whoever
asked on a route within a window asked once there, and whoever has failed, failed once in the whole rollout.
They are not at risk any more, and so they are not counted as asked either, in neither release.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import msgspec

from hanse.control.window import Both, Condition, Outcomes, Window

WHO_MAX = 100_000
"""People (and stories, where nobody knows who) that are remembered to have failed, and to have been slow; the oldest
are forgotten first, and count again."""

SLOW_AGAIN_SECONDS = 300.0
"""How long who was answered slowly is not counted again: answers are slow now and then, for everybody."""


class Limits(msgspec.Struct, frozen=True):
    """What is slow on a route, as the old release was before the rollout.

    Attributes:
        slow: Seconds within which it answered nineteen of twenty.
        slowest: Seconds within which it answered ninety-nine of a hundred.
    """

    slow: float
    slowest: float


class Told(msgspec.Struct, frozen=True):
    """One request that was answered, or one message that was handled, or was not.

    Attributes:
        route: Name of the route or type of message.
        instance: Who answered.
        is_new: Whether that is of the new release.
        who: Who asked: the subject, a session, or, where nobody knows, the story (the root of its trace).
        failed: Whether it came to nothing, and that was not the asker's fault.
        seconds: How long it took.
    """

    route: str
    instance: str
    is_new: bool
    who: str
    failed: bool
    seconds: float


class Stories:
    """What comes of requests, until a window is cut from it.

    Args of the constructor:
        limits: What is slow, by route; others are not timed.

    Example:
        >>> stories = Stories({"GET /orders": Limits(slow=0.2, slowest=0.5)})
        >>> for _ in range(9):
        ...     stories.add(Told("GET /orders", "b1", True, who="ann", failed=True, seconds=0.3), at=0.5)
        >>> stories.cut(1.0).routes["GET /orders"].new["b1"]
        Outcomes(asked=1, failed=1, timed=0, slow=0, slowest=0)
    """

    def __init__(self, limits: Mapping[str, Limits] | None = None) -> None:
        self._limits = dict(limits or {})
        self._failed: dict[str, float] = {}
        self._slow: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self._seen: dict[tuple[str, str, str], tuple[bool, Outcomes]] = {}

    def add(self, told: Told, at: float) -> None:
        """Take in what came of one request.

        Args:
            told: What came of it.
            at: Seconds since the rollout began.
        """
        key = (told.route, told.instance, told.who)
        known = self._seen.get(key, (told.is_new, Outcomes()))[1]
        limits = self._limits.get(told.route)
        asked, failed = known.asked, known.failed
        if told.who not in self._failed:
            asked, failed = 1, int(told.failed)
            if told.failed:
                _note(self._failed, told.who, at)
        elif not asked:
            return
        timed, slow, slowest = known.timed, known.slow, known.slowest
        if limits is not None and not told.failed:
            timed = 1
            slow |= self._is(0, told, limits.slow, at)
            slowest |= self._is(1, told, limits.slowest, at)
        self._seen[key] = (told.is_new, Outcomes(asked, failed, timed, slow, slowest))

    def cut(self, at: float, *, new: Condition | None = None, old: Condition | None = None) -> Window:
        """All that came in since the last cut.

        Args:
            at: Seconds since the rollout began.
            new: How the instances of the new release are.
            old: The same of the old one.
        """
        routes: dict[str, tuple[dict[str, Outcomes], dict[str, Outcomes]]] = {}
        for (route, instance, _), (is_new, outcomes) in self._seen.items():
            of = routes.setdefault(route, ({}, {}))[0 if is_new else 1]
            of[instance] = of.get(instance, Outcomes()) + outcomes
        self._seen = {}
        told = {route: Both(new=some, old=others) for route, (some, others) in routes.items()}
        return Window(at, told, new or Condition(), old or Condition())

    def _is(self, which: int, told: Told, limit: float, at: float) -> int:
        """Whether an answer was slow, for somebody for whom that counts."""
        before = self._slow[which].get(told.who)
        if told.seconds <= limit or (before is not None and at - before < SLOW_AGAIN_SECONDS):
            return 0
        _note(self._slow[which], told.who, at)
        return 1


def _note(known: dict[str, float], who: str, at: float) -> None:
    known.pop(who, None)
    known[who] = at
    for oldest in list(islice(known, max(0, len(known) - WHO_MAX))):
        del known[oldest]
