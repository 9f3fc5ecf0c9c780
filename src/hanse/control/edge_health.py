"""Which servers are left alone because connections to them failed, decided.

A connection that is refused or breaks ejects at once; what an application answers never does. An active check brings a
server back. No more than half of a pool is ejected: where all fails, it is the network or a shared cause, and to send
everything to the few that are left would take these down too; so the others are kept, and that is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

RECHECK_SECONDS = 0.2
"""From an ejection to the first check."""

RECHECK_SECONDS_MAX = 2.0
"""Longest time between two checks: it doubles each time."""


class Ejected(msgspec.Struct, frozen=True):
    """A server that gets nothing.

    Attributes:
        checks: How often it was asked since whether it is back.
        due: When it is asked next, on the loop's clock.
    """

    checks: int
    due: float


def may_eject(server: str, pool: Collection[str], ejected: Collection[str]) -> bool:
    """Whether a server may be ejected: at most half of its pool is.

    Args:
        server: Its id.
        pool: Ids of the servers of its pool that take requests, by the table.
        ejected: Ids of those that are ejected.

    Example:
        >>> may_eject("a", ["a", "b"], []), may_eject("b", ["a", "b"], ["a"]), may_eject("a", ["a"], [])
        (True, False, False)
    """
    if server not in pool:
        return False
    out = sum(1 for one in pool if one in ejected and one != server)
    return 2 * (out + 1) <= len(pool)


def eject(now: float) -> Ejected:
    """A server at the moment of its ejection."""
    return Ejected(0, now + RECHECK_SECONDS)


def checked_in_vain(state: Ejected, now: float) -> Ejected:
    """The same after a check that failed.

    Example:
        >>> state = eject(0.0)
        >>> for moment in (0.2, 0.6, 1.4, 3.0):
        ...     state = checked_in_vain(state, moment)
        >>> state.due
        5.0
    """
    pause = min(RECHECK_SECONDS_MAX, RECHECK_SECONDS * 2 ** (state.checks + 1))
    return Ejected(state.checks + 1, now + pause)


def is_back(status: int | None) -> bool:
    """Whether a server that was asked takes requests again.

    Args:
        status: What it answered; 0 where a connection was all that was asked for, None where it failed.
    """
    return status is not None and status < 500  # noqa: PLR2004 - the least status of a server's own failure


def still_out(ejected: Iterable[str], up: Collection[str]) -> set[str]:
    """Those that stay ejected when a table comes: of the others nobody knows anything."""
    return {server for server in ejected if server in up}
