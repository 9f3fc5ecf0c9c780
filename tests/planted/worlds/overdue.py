"""What has not come about for too long, of the seconds in which nothing was in its way."""

from __future__ import annotations

from collections.abc import Iterable

OVERDUE_SECONDS = 15.0
"""That anything takes at most which nothing is in the way of: it is looked at, drained, shown, heard of and begun."""


class Overdue:
    """Counts the seconds of each."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def look(self, seconds: float, missing: Iterable[str], *, in_the_way: bool) -> str:
        """What is overdue; empty for nothing.

        Args:
            seconds: Since it was looked before.
            missing: What is not there yet, by sentences that tell so.
            in_the_way: Whether anything is; then all begin anew.
        """
        known = {} if in_the_way else self._seconds
        self._seconds = {what: known.get(what, 0.0) + seconds for what in missing} if not in_the_way else {}
        return next((what for what, waited in self._seconds.items() if waited > OVERDUE_SECONDS), "")
