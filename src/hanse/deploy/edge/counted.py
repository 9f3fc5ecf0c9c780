"""What an edge has counted of requests that are over, by key; the same for all engines."""

from __future__ import annotations

from typing import final

from hanse.control.edge_figures import Counts, Key, Line
from hanse.control.edge_people import People

KEYS_MAX = 20_000
"""Keys that are counted apart: of servers that came and went the oldest are forgotten."""

SOMEBODY = "?"
"""Said in a line of log of whoever asked, where nobody knows who that was."""


@final
class Counted:
    """Counts by service, release, server and route; and people, where lines of log tell who asked.

    Example:
        >>> counted, key = Counted(), Key("users", "1.5", "users-1", "/")
        >>> counted.of(key).requests += 1
        >>> counted.asked(key, "9f86d081884c7d65", 1.5, failed=True)
        >>> [(line.counts.requests, line.counts.people_failed) for line in counted.lines()]
        [(1, 1)]
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._counts: dict[Key, Counts] = {}
        self._people = People()

    def of(self, key: Key) -> Counts:
        """The counts of one key."""
        counts = self._counts.get(key)
        if counts is None:
            if len(self._counts) >= KEYS_MAX:
                del self._counts[next(iter(self._counts))]
            counts = self._counts[key] = Counts()
        return counts

    def asked(self, key: Key, who: str, now: float, *, failed: bool) -> None:
        """Count who asked, beside the request.

        Args:
            key: Of the request, by the server that answered it or failed it last.
            who: A hash of the rollout's salt and of who asked; `SOMEBODY`; or empty where nobody looked.
            now: In seconds, of a clock that nobody sets.
            failed: Whether it came to nothing, and that was not the asker's fault.
        """
        if who and key.server:
            name = "" if who == SOMEBODY else who
            self._people.count(self.of(key), (key.server, key.route), "", name, now, failed=failed)

    def lines(self) -> tuple[Line, ...]:
        """All that was counted."""
        return tuple(Line(key, counts) for key, counts in self._counts.items())
