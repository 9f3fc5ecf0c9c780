"""What a node has counted of calls and messages since it started, for whoever judges its release.

All counts only grow. They end with the process: whoever compares two looks has to know that it is the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from hanse.delivery.inbox import Inbox
from hanse.kernel.faults import CannotTell, fault_class
from hanse.kernel.latency import no_latencies
from hanse.mesh.server import Server

FAILED = 500
"""A fault of this status or more is a failure of whoever answers; one below is the caller's."""

CODES_MAX = 1_000
"""Codes of faults whose status is remembered."""


class Calls(msgspec.Struct):
    """What came of the calls and streams of one operation.

    Attributes:
        asked: Those that have ended; one that was turned away before it began, as the node stops, is none.
        failed: Of these, with a fault that is not the caller's.
        broken: Of these, with an answer that cannot be told as the contract says.
        buckets: How many of every 32nd that went well took how long, by `BOUNDS_MS`.
    """

    asked: int = 0
    failed: int = 0
    broken: int = 0
    buckets: list[int] = msgspec.field(default_factory=no_latencies)

    def __sub__(self, before: Calls) -> Calls:
        """What came since."""
        buckets = [one - other for one, other in zip(self.buckets, before.buckets, strict=True)]
        return Calls(self.asked - before.asked, self.failed - before.failed, self.broken - before.broken, buckets)


class Messages(msgspec.Struct):
    """What came of the messages of one group of subscribers.

    Attributes:
        handled: Those that were handled at the first try.
        failed: Those that failed at the first try; what came of others says nothing more of a release, as another one
            may have failed at them first.
        parked: Those that became dead letters here; not those that wait behind one.
    """

    handled: int = 0
    failed: int = 0
    parked: int = 0

    def __sub__(self, before: Messages) -> Messages:
        """What came since."""
        return Messages(self.handled - before.handled, self.failed - before.failed, self.parked - before.parked)


class Ledger(msgspec.Struct):
    """All of it.

    Attributes:
        calls: By address of the operation.
        messages: By name of the group.
        lag: Seconds by which the event loop was late, at the worst since somebody asked last.
    """

    calls: dict[str, Calls] = {}
    messages: dict[str, Messages] = {}
    lag: float = 0.0

    def since(self, before: Ledger) -> Ledger:
        """What was counted since.

        Example:
            >>> Ledger(messages={"mail": Messages(5, 2)}).since(Ledger(messages={"mail": Messages(4, 2)})).messages
            {'mail': Messages(handled=1, failed=0, parked=0)}
        """
        calls = {name: one - before.calls.get(name, Calls()) for name, one in self.calls.items()}
        messages = {name: one - before.messages.get(name, Messages()) for name, one in self.messages.items()}
        return Ledger(calls, messages, self.lag)


def ledger_of(server: Server, inboxes: Iterable[Inbox]) -> Ledger:
    """What has been counted.

    Args:
        server: Of the calls; those of groups of subscribers are no operations, and are told as messages.
        inboxes: Of the messages.
    """
    return Ledger(_calls(server), {one.group: Messages(one.handled, one.failed, one.letters) for one in inboxes})


def _calls(server: Server) -> dict[str, Calls]:
    found: dict[str, Calls] = {}
    for (address, code), count in server.ended.items():
        if not address.startswith("on/"):
            calls = found.setdefault(address, Calls(buckets=list(server.latencies(address))))
            calls.asked += count
            calls.failed += count if is_failure(code) else 0
            calls.broken += count if code == CannotTell.code else 0
    _without(found, server.undone)
    return found


def _without(found: dict[str, Calls], undone: Mapping[tuple[str, str], int]) -> None:
    """Leave out what was turned away: it is asked elsewhere, and ends there."""
    for (address, code), count in undone.items():
        if address in found:
            found[address].asked -= count
            found[address].failed -= count if is_failure(code) else 0


@lru_cache(CODES_MAX)
def is_failure(code: str) -> bool:
    """Whether a fault says something against whoever answered with it; one that nobody knows here does.

    Example:
        >>> is_failure("internal"), is_failure("not_found"), is_failure("")
        (True, False, False)
    """
    known = fault_class(code) if code else None
    return bool(code) and (known is None or known.status >= FAILED)
