"""How slowly a client may send a request, its head (line and headers) and its body, and how slowly it may read.

Decisions that connections ask. uvicorn bounds neither, so that a client could send one endless header, or one byte a
minute, or leave its answers unread, for ever.
"""

from __future__ import annotations

from hanse.gateway.callers import refusal
from hanse.gateway.limits import HEADER_BYTES_MAX, Limits
from hanse.gateway.problem import RequestTimeout

REFUSAL = refusal(
    431,
    "Request Header Fields Too Large",
    "headers_too_large",
    f"the request line and headers are over their limit of {HEADER_BYTES_MAX} bytes",
)
"""The answer to a head that is too large, as bytes on the wire."""


class Head:
    """What has come of one connection's next request.

    Example:
        >>> head = Head(now=0.0)
        >>> head.took(100, 1.0, answered=True, in_body=False), head.is_late(5.5, 5.0), head.is_late(4.5, 5.0)
        (False, True, False)
    """

    __slots__ = ("_bytes", "_since")

    def __init__(self, now: float) -> None:
        self._since: float | None = now
        self._bytes = 0

    def took(self, size: int, now: float, *, answered: bool, in_body: bool) -> bool:
        """Bytes came; whether there are too many of them.

        Args:
            size: How many.
            now: On the loop's clock.
            answered: Whether no request is being answered: they belong to the next one, or to one answered early.
            in_body: Whether they are of a body, whose size its reader limits.
        """
        if not answered:
            self._since, self._bytes = None, 0
            return False
        self._since = now if self._since is None else self._since
        self._bytes += 0 if in_body else size
        return self._bytes > HEADER_BYTES_MAX

    def is_late(self, now: float, seconds: float) -> bool:
        """Whether the client has taken more than so long."""
        return self._since is not None and now - self._since > seconds


def body_seconds(size: int, limits: Limits) -> float:
    """How long a client may have taken for so much of a body, in seconds.

    Args:
        size: Bytes that have come.
        limits: The grace, the least rate, and how long the longest may take.

    Example:
        >>> limits = Limits(body_grace_seconds=5.0, body_rate=240, body_seconds=30.0)
        >>> [body_seconds(size, limits) for size in (0, 240, 1_000_000)]
        [5.0, 6.0, 30.0]
    """
    if not limits.body_rate:
        return limits.body_seconds
    return min(limits.body_seconds, limits.body_grace_seconds + size / limits.body_rate)


def too_slow(size: int, limits: Limits) -> RequestTimeout:
    """What is told of a body of which so much has come when its time was over."""
    if body_seconds(size, limits) < limits.body_seconds:
        return RequestTimeout(f"{limits.body_rate} bytes of the body a second, got {size} in all")
    return RequestTimeout(f"the whole body within {limits.body_seconds:g} s")


class Backlog:
    """What a connection has been given to send and the client has not taken, looked at now and then.

    Example:
        >>> backlog = Backlog()
        >>> [backlog.is_stuck(left, now, seconds=30.0) for left, now in ((9, 0.0), (7, 20.0), (7, 40.0), (7, 50.0))]
        [False, False, False, True]
    """

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        self._left = 0
        self._since = 0.0

    def is_stuck(self, left: int, now: float, *, seconds: float) -> bool:
        """Whether there has been no progress for so long.

        Args:
            left: Bytes that are left, of a connection that is full; 0 for one that takes more.
            now: On the loop's clock.
            seconds: How long a client may take nothing.
        """
        if not left or left < self._left or not self._left:
            self._left, self._since = left, now
            return False
        return now - self._since >= seconds
