"""Whether a request that failed is sent again, decided. The rule: never twice, unless that is safe.

    what failed                                   idempotent, or keyed    any other
    nothing was sent                              again                   again
    sent, and the server went away unheard        again                   outcome unknown (502)
    no head in time                               too late (504)          too late (504)
    something that is no HTTP                     broken (502)            broken (502)
    the head has come                             broken off              broken off

A request is keyed where it has an `Idempotency-Key`: its sender says that it may be repeated, and the service knows it.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from hanse.control.edge_table import Retries

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that may be repeated by what HTTP says of them (RFC 9110, 9.2.2)."""

ATTEMPTS_MAX = 10
"""Servers that a request is taken to at most, one after the other, where none of them takes its connection."""

SAME_SERVER_PAUSE = 0.1
"""Seconds before the only server that there is is tried again, as it may be starting."""

Step = Literal["again", "unavailable", "unknown", "late", "broken", "break off"]
"""What is done: send it again; answer 503, 502 (nobody knows what became of it), 504 or 502; break the answer off."""


class Failure(Enum):
    """How an attempt failed.

    Attributes:
        UNSENT: Nothing was sent: no connection was taken, or it broke before the first byte.
        UNHEARD: It was sent, or a part of it, and the server went away before the head of an answer.
        LATE: No head came in time.
        GARBLED: Something came that is no answer of HTTP.
        HALFWAY: The server went away in the middle of its answer.
    """

    UNSENT = "unsent"
    UNHEARD = "unheard"
    LATE = "late"
    GARBLED = "garbled"
    HALFWAY = "halfway"


class Tried(msgspec.Struct, frozen=True):
    """A request after an attempt that failed.

    Attributes:
        method: Its method.
        keyed: Whether it has an idempotency key.
        attempts: How often it was tried.
        kept: Whether all of its body that was sent is still there, to be sent again.
        others: Whether there is a server that it was not tried at.
    """

    method: str
    keyed: bool
    attempts: int
    kept: bool
    others: bool = False


def may_repeat(method: str, *, keyed: bool) -> bool:
    """Whether it makes no difference if a request is handled twice.

    Example:
        >>> may_repeat("PUT", keyed=False), may_repeat("POST", keyed=False), may_repeat("POST", keyed=True)
        (True, False, True)
    """
    return keyed or method in IDEMPOTENT


def next_step(failure: Failure, tried: Tried, retries: Retries) -> Step:
    """What is done about an attempt that failed.

    Example:
        >>> lost = Tried("POST", keyed=False, attempts=1, kept=True)
        >>> next_step(Failure.UNSENT, lost, Retries()), next_step(Failure.UNHEARD, lost, Retries())
        ('again', 'unknown')
    """
    left = tried.attempts < retries.attempts
    match failure:
        case Failure.UNSENT:
            # What was not sent costs nothing but a look at the next server, as long as there are any.
            more = tried.others and tried.attempts < ATTEMPTS_MAX
            return "again" if left or more else "unavailable"
        case Failure.UNHEARD:
            if not may_repeat(tried.method, keyed=tried.keyed):
                return "unknown"
            return "again" if left and tried.kept else "unknown"
        case Failure.LATE:
            return "late"
        case Failure.GARBLED:
            return "broken"
        case Failure.HALFWAY:
            return "break off"
