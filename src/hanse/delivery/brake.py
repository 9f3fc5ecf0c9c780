"""Keeps a group that fails at everything from draining its backlog into the dead letters.

One message that fails is the message's fault; when many different ones fail in a row and none succeeds in between,
something else is broken. Then messages stay where they are, and one at a time is tried, further and further apart,
until one succeeds: those first that have not failed yet, or what is bad by itself would keep what is good waiting. A
pure machine: time comes in with each question.

States: open -> (`FAILING_MAX` messages in a row) -> held <-> one is tried -> open.
"""

from __future__ import annotations

from typing import final

from hanse.kernel.faults import Unavailable

FAILING_MAX = 10
"""Messages that fail in a row, before the others are left alone."""

PROBE_SECONDS = 1.0
"""From the last failure to the first message that is tried; each further one waits twice as long."""

PROBE_SECONDS_MAX = 15.0
"""Longest time between two that are tried: in an hour of trouble, a few hundred attempts and not a whole backlog."""

LOOK_SECONDS = 1.0
"""When to ask again while one is being tried."""

FRESH_SECONDS = 2.0
"""For which one that has not failed yet may come before those that have."""

REMEMBERED_MAX = 1000
"""Messages that are known to have failed, and those that are known not to have."""


class Braked(Unavailable, detail="{problem}"):
    """The handler has failed at many messages in a row; the others wait where they are until one succeeds."""

    problem: str
    after: float = LOOK_SECONDS

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before another try."""
        return self.after


@final
class Brake:
    """Whether a group handles messages, or only tries one now and then.

    Example:
        >>> brake = Brake()
        >>> for number in range(FAILING_MAX):
        ...     brake.failed(f"m{number}", now=0.0)
        >>> brake.wait("m99", now=0.5), brake.wait("m99", now=1.0)
        (0.5, 0.0)
        >>> brake.succeeded()
        >>> brake.wait("m99", now=0.5)
        0.0
    """

    def __init__(self) -> None:
        self._failing: set[str] = set()
        self._fresh: set[str] = set()
        self._rest = PROBE_SECONDS
        self._due = 0.0
        self._trying = ""

    @property
    def held(self) -> bool:
        """Whether only one message at a time is tried."""
        return len(self._failing) >= FAILING_MAX

    def wait(self, id: str, *, now: float) -> float:
        """Seconds until a message may be tried; 0 where it is now, and then it is the one that is.

        Args:
            id: Of the message.
            now: Second of a clock that never goes back.
        """
        if not self.held:
            return 0.0
        if id not in self._failing and len(self._fresh) < REMEMBERED_MAX:
            self._fresh.add(id)
        if self._trying:
            return LOOK_SECONDS
        due = self._due + FRESH_SECONDS if self._fresh and id not in self._fresh else self._due
        if now >= due:
            self._trying = id
            self._fresh.discard(id)
            return 0.0
        return due - now

    def succeeded(self) -> None:
        """A message was handled: whatever was broken works again."""
        self._failing.clear()
        self._fresh.clear()
        self._rest = PROBE_SECONDS
        self._trying = ""

    def failed(self, id: str, *, now: float) -> None:
        """A message was not handled, for a reason that may have nothing to do with it."""
        if not self.held:
            self._failing.add(id)
            self._due = now + self._rest
        elif id == self._trying:
            self._trying = ""
            if len(self._failing) < REMEMBERED_MAX:
                self._failing.add(id)
            self._rest = min(PROBE_SECONDS_MAX, 2.0 * self._rest)
            self._due = now + self._rest

    def left(self, id: str) -> None:
        """Nothing is known of a message that was tried: its handler was broken off, or it was hopeless by itself."""
        if id == self._trying:
            self._trying = ""
