"""A request while it waits in the list of a service: since when, for how long, and where it is to be answered.

An entry is `<seconds>:<microseconds> <wait> <reply> <payload>`; the server puts its clock before what a node adds, and
the one that takes it gets the clock along: so how long something has waited rests on one clock.
"""

from __future__ import annotations

from typing import NamedTuple

from hanse.kernel.faults import Malformed


class Queued(NamedTuple):
    """A request that has waited.

    Attributes:
        age: Seconds that it has waited.
        wait: Seconds for which somebody wants it done.
        reply: Where it is to be answered.
        payload: The frame.
    """

    age: float
    wait: float
    reply: bytes
    payload: bytes


def entry(wait: float, reply: bytes, payload: bytes, lead: bytes) -> bytes:
    """What a node adds to a list.

    Args:
        wait: Seconds for which it is to wait at most.
        reply: Where it is to be answered; no spaces are in it.
        payload: The frame.
        lead: Bytes before the payload.
    """
    return b"%d %b %b%b" % (wait * 1_000, reply, lead, payload)


def queued_in(raw: bytes, now: float) -> Queued:
    """An entry of a list.

    Args:
        raw: The entry.
        now: The server's clock, in seconds.

    Raises:
        Malformed: It is none.

    Example:
        >>> queued_in(b"100:500000 3000 hanse.0.shop.node.n1.7 frame", 101.0)
        Queued(age=0.5, wait=3.0, reply=b'hanse.0.shop.node.n1.7', payload=b'frame')
    """
    try:
        since, wait, reply, payload = raw.split(b" ", 3)
        seconds, microseconds = since.split(b":")
        age = now - int(seconds) - int(microseconds) / 1_000_000
        return Queued(max(0.0, age), int(wait) / 1_000, reply, payload)
    except ValueError:
        raise Malformed(f"expected a request that waits, got {raw[:100]!r}") from None
