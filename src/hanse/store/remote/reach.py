"""Whether it is worth while to look for the server of a store: while it is away, whoever asks is told at once."""

from __future__ import annotations

from typing import final

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host

PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 2.0
"""For which nobody looks for a server again, after one has in vain; longer each time, up to the second."""


@final
class Reach:
    """What is known of the way to a server.

    Attributes:
        place: Which store, without secrets.
        host: Its clock, and chance for pauses.

    Example:
        >>> reach = Reach("postgresql://db/shop", Host.system())
        >>> reach.check()
        >>> reach.failed("nobody answers at db")
        >>> reach.check()
        Traceback (most recent call last):
            ...
        hanse.kernel.faults.Unavailable: nobody answers at db
    """

    def __init__(self, place: str, host: Host) -> None:
        """Know nothing against it."""
        self.place: str = place
        self.host: Host = host
        self._failures = 0
        self._not_before = 0.0
        self._why = ""

    def check(self) -> None:
        """Go on.

        Raises:
            Unavailable: There was no server a moment ago.
        """
        if self.host.monotonic() < self._not_before:
            raise Unavailable(self._why)

    def pause(self) -> float:
        """Seconds until it is worth while to try again."""
        return max(0.0, self._not_before - self.host.monotonic())

    def found(self) -> None:
        """There is a server."""
        self._failures = 0
        self._not_before = 0.0

    def failed(self, why: str) -> None:
        """There is none.

        Args:
            why: What whoever asks is told for a while.
        """
        longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = self.host.monotonic() + longest * (0.5 + self.host.chance.random() / 2)
        self._why = why
