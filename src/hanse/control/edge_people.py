"""Counts people instead of requests at the edge, so that who tries again and again counts once.

It is `stories` for whoever counts as requests come, and not as a judge looks: who asked on a route within a second
asked once there, and who has failed has failed once in the whole rollout, and is asked about no more. So somebody whose
account is broken, and who sticks to one release, is one failure and not a thousand.
"""

from __future__ import annotations

from itertools import islice
from typing import final

from hanse.control.edge_figures import Counts
from hanse.control.stories import WHO_MAX

WINDOW_SECONDS = 1.0
"""Within which somebody who asks on a route at a server counts once."""

SEEN_MAX = 100_000
"""People, by route and server, that are remembered within that; those that come beyond have all count again."""

FORGOTTEN = WHO_MAX // 100
"""Of those who are remembered to have failed, the oldest that are forgotten at once, to make room."""


@final
class People:
    """Who has asked lately, and who has failed.

    Example:
        >>> people, counts = People(), Counts()
        >>> for _ in range(9):
        ...     people.count(counts, ("web-1", "/"), "rollout-7", "ann", 1.5, failed=True)
        >>> counts.whose, counts.people, counts.people_failed
        (9, 1, 1)
    """

    def __init__(self) -> None:
        self._failed: dict[int, None] = {}
        self._seen: set[int] = set()
        self._window = -1

    def count(self, counts: Counts, place: tuple[str, str], salt: str, who: str, now: float, *, failed: bool) -> None:
        """Count what came of one request.

        Args:
            counts: Of the place, where it is added.
            place: Server and route.
            salt: Of the rollout.
            who: Who asked; empty for somebody whom nobody knows, who counts each time.
            now: In seconds, of a clock that nobody sets.
            failed: Whether it came to nothing, and that was not the asker's fault.
        """
        counts.whose += 1
        # Hashes of a process are its own secret: nobody can have a name that is taken for somebody else's.
        if not who:
            counts.people += 1
        elif hash((salt, who)) in self._failed:
            return
        elif (there := hash((salt, who, place))) not in self._in_window(now):
            self._seen.add(there)
            counts.people += 1
        if failed:
            self.failed(counts, salt, who)

    def failed(self, counts: Counts, salt: str, who: str) -> None:
        """Count somebody as failed who was counted as having asked: their answer broke off halfway.

        Args:
            counts: Of the place, where it is added.
            salt: Of the rollout.
            who: Who asked; empty for somebody whom nobody knows.
        """
        known = hash((salt, who))
        if who and known in self._failed:
            return
        counts.people_failed += 1
        if who:
            self._failed[known] = None
        if len(self._failed) > WHO_MAX:
            for oldest in list(islice(self._failed, FORGOTTEN)):
                del self._failed[oldest]

    def _in_window(self, now: float) -> set[int]:
        window = int(now / WINDOW_SECONDS)
        if window != self._window or len(self._seen) >= SEEN_MAX:
            self._window = window
            self._seen.clear()
        return self._seen
