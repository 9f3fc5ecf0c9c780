"""What came of copies of requests: two answers to one request, side by side, for whoever compares them."""

from __future__ import annotations

import msgspec

BODY_BYTES_MAX = 64 * 1024
"""Of an answer that is kept to be compared, and of a request that is copied."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, as far as it is compared.

    Attributes:
        status: Its status; 0 where none came.
        type: Media type of its body.
        body: The first `BODY_BYTES_MAX` of it.
        cut: Whether there was more.
        seconds: Until its end.
        problem: Why there is none, or not all of it; empty where it is whole.
    """

    status: int = 0
    type: str = ""
    body: bytes = b""
    cut: bool = False
    seconds: float = 0.0
    problem: str = ""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what two releases answered.

    Attributes:
        service: Who was asked.
        route: Path of the route.
        method: Of the request.
        target: Path and query, as they came.
        trace_id: Of the story.
        release: Whose answer the client got.
        mirror: Whose answer nobody got; the same release again, where it is compared with itself.
        told: What the client was answered.
        copied: What the copy was answered.
    """

    service: str
    route: str
    method: str
    target: str
    trace_id: str
    release: str
    mirror: str
    told: Heard = Heard()
    copied: Heard = Heard()


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared since somebody asked last.

    Attributes:
        pairs: In the order in which they were whole.
        dropped: How many there were besides, as nobody asked in time.
    """

    pairs: tuple[Pair, ...] = ()
    dropped: int = 0
