"""Receivers that are left alone for a while: a machine over ids and times, one for each instance that sends.

Who asks for a pause gets it. Who did not answer at all several times in a row is given one, longer each time, so that
places are not held by waiting for whoever is not there. To forget all of it costs one attempt for each.
"""

from __future__ import annotations

from typing import final

FAILURES_MAX = 4
"""Attempts in a row without an answer before there is a pause."""

PAUSE_SECONDS = 15.0
"""The first pause; each further one is twice as long."""

PAUSE_SECONDS_MAX = 900.0
"""The longest."""

REMEMBERED_MAX = 10_000
"""Receivers that something is remembered of."""


@final
class Pauses:
    """Who is left alone, and until when.

    Example:
        >>> pauses = Pauses()
        >>> pauses.asked("a", 60.0)
        >>> pauses.until("a"), pauses.until("b")
        (60.0, 0.0)
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def until(self, id: str) -> float:
        """The second until which a receiver is left alone; 0 for one that is not."""
        return self._until.get(id, 0.0)

    def asked(self, id: str, until: float) -> None:
        """A receiver asked to be left alone."""
        if id not in self._until and len(self._until) >= REMEMBERED_MAX:
            del self._until[next(iter(self._until))]
        self._until[id] = max(until, self.until(id))

    def answered(self, id: str) -> None:
        """A receiver is there."""
        _ = self._failures.pop(id, None)

    def silent(self, id: str, now: float) -> None:
        """A receiver did not answer at all."""
        failures = self._failures.pop(id, 0) + 1
        if len(self._failures) >= REMEMBERED_MAX:
            del self._failures[next(iter(self._failures))]
        self._failures[id] = failures
        if failures >= FAILURES_MAX:
            self.asked(id, now + min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * 2.0 ** min(failures - FAILURES_MAX, 16)))
