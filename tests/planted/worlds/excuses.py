"""Why one of a service may be missing: what broke, by name, and for how long that is an excuse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .premises import Process

BACK_SECONDS = 12.0
"""From an end to the next process that answers, beside the pause before it: heard, launched, up and looked at."""

HEARD_SECONDS, NOTICED_SECONDS = 0.2, 8.0
"""From an end, and from the moment at which one answers no more, until that is known: it was looked at twice."""

HUNG_SECONDS = 60.0
"""From the moment at which one answers no more until it has ended: it may come back, is told to end, and is killed."""

BACKOFF_SECONDS_MAX = 30.0

ENDS_MAX = 5
"""Ends within a minute after which an instance is given up, until somebody says that it is to be tried again."""


@dataclass
class Excuse:
    """One that may be missing.

    Attributes:
        what: What broke, in words.
        release: Of whom.
        at: When.
        known_at: When that is known to whoever steers, unless news are late.
        left: Seconds that are left to bring it back, of those in which nothing else is in the way.
    """

    what: str
    release: str
    at: float
    known_at: float
    left: float


class Excuses:
    """All that are in force."""

    def __init__(self) -> None:
        self._known: dict[str, list[Excuse]] = {}
        self._last: dict[str, float] = {}

    def of(self, service: str) -> Sequence[Excuse]:
        """Those of a service."""
        return self._known.get(service, ())

    def broke(self, process: Process, what: str, at: float, ends: int, *, hangs: bool) -> None:
        """One broke that was there, after so many ends within a minute."""
        backoff = min(BACKOFF_SECONDS_MAX, 0.5 * 2.0 ** (ends + 1))
        left = BACK_SECONDS + backoff + (HUNG_SECONDS if hangs else 0.0)
        if ends + 1 >= ENDS_MAX:
            left = math.inf
        known_at = at + (NOTICED_SECONDS if hangs else HEARD_SECONDS)
        self._known.setdefault(process.service, []).append(Excuse(what, process.release, at, known_at, left))
        self._last[process.service] = at

    def pass_by(self, service: str, seconds: float, in_the_way: Sequence[str]) -> None:
        """Time has passed: it counts where nothing was in the way."""
        if not in_the_way:
            for one in self.of(service):
                one.left -= seconds
            self._known[service] = [one for one in self.of(service) if one.left > 0.0]

    def forgive(self, service: str, now: float) -> None:
        """What was given up is to be tried again: for that there is an end, too."""
        del now
        for one in self.of(service):
            one.left = min(one.left, HUNG_SECONDS + BACK_SECONDS)

    def any_lately(self, services: Iterable[str], since: float) -> bool:
        """Whether any of these broke since."""
        return any(self._last.get(service, -1e9) >= since for service in services)
