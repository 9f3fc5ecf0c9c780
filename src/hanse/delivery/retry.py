"""When a message that was not handled is tried again, and when no try can help. Pure, so asking twice is harmless.

Two things can fail. The delivery (nobody is there, the broker is away): that says nothing about the message, so it is
tried for ever, and no outage fills the dead letters. Or the handler: that counts as an attempt, and after the last one
the message is parked. `HandlerFailed` is how the relay tells the second from the first.
"""

from __future__ import annotations

from hanse.kernel.faults import Fault, Invalid, Malformed, Misdeclared, TooLarge, Unavailable

BASE_SECONDS = 0.1
"""Longest wait before the second retry; each further one may wait twice as long."""

DELAY_SECONDS_MAX = 60.0
"""Longest wait before any retry, unless the fault asks for more."""

OUTAGE_SECONDS_MAX = 10.0
"""Longest wait before it is tried again whether somebody is back, who should soon have what waits."""

ATTEMPTS_MAX = 5
"""How often a handler is tried before its message is parked, unless the subscription says otherwise."""


class Terminal(Fault, status=500, detail="{problem}"):
    """No other try can help: raise it (or a subclass) in a handler, and its message is parked at once."""

    problem: str


class HandlerFailed(Fault, status=500, retryable=True, detail="{group} failed with {cause}: {problem}"):
    """The handler of an event failed, and wants it again after `after` seconds (0: as the relay likes)."""

    group: str
    cause: str
    problem: str
    after: float = 0.0

    @property
    def retry_after(self) -> float | None:
        """Seconds that the handler asked to be left alone."""
        return self.after or None


HOPELESS = (Terminal, Malformed, Invalid, TooLarge, Misdeclared)
"""Faults that the same message meets again. A handler reads the world anew on each attempt, so that others which stand
for a bad request elsewhere (not found, a precondition that failed) may well be gone the next time."""


def next_delay(attempt: int, fault: BaseException, draw: float) -> float:
    """Seconds to wait after an attempt that failed: none after the first, then exponential with full jitter.

    Args:
        attempt: Which attempt it was, from 1.
        fault: What it failed with; the wait is at least what it asks for.
        draw: A number from 0 to 1, by chance.

    Example:
        >>> [next_delay(attempt, Terminal("x"), 1.0) for attempt in (1, 2, 3, 4, 99)]
        [0.0, 0.1, 0.2, 0.4, 60.0]
        >>> next_delay(99, Unavailable("nobody serves it"), 1.0)
        10.0
    """
    asked = (fault.retry_after or 0.0) if isinstance(fault, Fault) else 0.0
    if attempt <= 1:
        return asked
    # 2 ** 1024 is more than a float holds, and the limit is reached long before.
    most = OUTAGE_SECONDS_MAX if isinstance(fault, Unavailable) else DELAY_SECONDS_MAX
    longest = min(most, BASE_SECONDS * 2.0 ** min(attempt - 2, 64))
    return max(asked, longest * draw)


def horizon(attempts: int, ack_seconds: float) -> float:
    """Seconds from the first attempt at a message to the last answer to it, at the longest.

    Marks of what was handled have to outlive it: a message that comes again after its mark is gone is handled again.
    Dead letters need none: a replay rests on the letter itself.

    Args:
        attempts: How often a handler is tried.
        ack_seconds: How long one delivery may take.

    Example:
        >>> horizon(5, 30.0)
        450.0
    """
    return attempts * (ack_seconds + DELAY_SECONDS_MAX)


def is_final(attempt: int, fault: BaseException, attempts_max: int) -> bool:
    """Whether a message is to be parked after this attempt.

    Example:
        >>> is_final(1, Malformed("no bytes"), 5), is_final(4, ValueError("?"), 5), is_final(5, ValueError("?"), 5)
        (True, False, True)
    """
    return attempt >= attempts_max or isinstance(fault, HOPELESS)
