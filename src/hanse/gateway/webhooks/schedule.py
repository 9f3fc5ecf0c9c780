"""What is done about a webhook after an attempt: a decision about its answer, without clock or network."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import msgspec

DELAYS_SECONDS = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""How long after each attempt that failed the next one is made, as Standard Webhooks recommends: over three days."""

ATTEMPTS_MAX = len(DELAYS_SECONDS) + 1
"""After so many a delivery is given up."""

JITTER = 0.2
"""Up to this share of a delay is added by chance, so that what failed together is not tried together."""

RETRY_AFTER_SECONDS_MAX = 86_400.0
"""Longest wait that a receiver may ask for."""

ENDING_SECONDS = 432_000.0
"""A subscription that nothing could be delivered to for so long, five days, is ended."""

GONE = 410
ASKING_TO_WAIT = frozenset({429, 502, 503, 504})
"""Statuses that say that there is too much of it; `Retry-After` is heard with them."""


class Answer(msgspec.Struct, frozen=True):
    """What came of one attempt.

    Attributes:
        status: Of the response; 0 where there was none.
        problem: What went wrong, for whoever looks at the delivery; empty where nothing did.
        retry_after: Seconds that the receiver asked for; 0 where it did not.
        refused: Whether it was not sent, since nothing may be sent there.
        said: The beginning of what the receiver said.
    """

    status: int
    problem: str = ""
    retry_after: float = 0.0
    refused: bool = False
    said: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the receiver has it."""
        return 200 <= self.status < 300  # noqa: PLR2004 - what HTTP calls a success


class Delivered(msgspec.Struct, frozen=True):
    """The receiver has it."""


class Later(msgspec.Struct, frozen=True):
    """It is tried again in so many seconds; `pause` says that all of its subscription's wait as well."""

    seconds: float
    pause: bool = False


class GivenUp(msgspec.Struct, frozen=True):
    """It is not tried again by itself; `end` says that its subscription wants no more."""

    end: bool = False


Verdict = Delivered | Later | GivenUp


def verdict(answer: Answer, attempt: int, draw: float) -> Verdict:
    """What is to be done after an attempt.

    Args:
        answer: What came of it.
        attempt: Which it was, from 1.
        draw: A number from 0 to 1, by chance.

    Example:
        >>> verdict(Answer(204), 1, 0.0), verdict(Answer(410), 1, 0.0), verdict(Answer(500), 2, 0.0)
        (Delivered(), GivenUp(end=True), Later(seconds=300.0, pause=False))
        >>> verdict(Answer(429, retry_after=60.0), 1, 0.0)
        Later(seconds=60.0, pause=True)
    """
    if answer.accepted:
        return Delivered()
    if answer.status == GONE:
        return GivenUp(end=True)
    if attempt >= ATTEMPTS_MAX:
        return GivenUp()
    delay = DELAYS_SECONDS[attempt - 1] * (1.0 + JITTER * draw)
    throttled = answer.status in ASKING_TO_WAIT
    asked = min(answer.retry_after, RETRY_AFTER_SECONDS_MAX) if throttled else 0.0
    return Later(max(delay, asked), pause=throttled)


def retry_after_of(text: str, now: float) -> float:
    """The seconds that a `Retry-After` asks for, in either of its forms; 0 for one that cannot be read.

    Args:
        text: Seconds, or a date.
        now: Wall-clock second.

    Example:
        >>> [retry_after_of(text, 0.0) for text in ("120", "Thu, 01 Jan 1970 00:01:00 GMT", "soon")]
        [120.0, 60.0, 0.0]
    """
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), RETRY_AFTER_SECONDS_MAX)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), RETRY_AFTER_SECONDS_MAX)
    except (ValueError, OverflowError):
        return 0.0
