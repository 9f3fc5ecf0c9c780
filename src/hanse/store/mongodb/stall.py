"""Who is held up by a transaction that nobody ends, and how it is ended.

A transaction of MongoDB does not end with the connection that began it, but only after a minute, or as long as the
server is told. So one of a process that was killed, or paused, amid a commit would hold up all others of its store.
"""

from __future__ import annotations

import logging

import msgspec

from hanse.store.mongodb.link import Link
from hanse.store.mongodb.writing import State

_log = logging.getLogger("hanse.store.mongodb")

STUCK_SECONDS = 5.0
"""For which a transaction may hold up others, of whom none commits: then its session is ended."""


class Stall(msgspec.Struct):
    """Whether others hold this process up, and commit nothing themselves.

    Attributes:
        state: Where the store was when it was looked at last.
        since: The second since which it has been there.

    Example:
        >>> stall = Stall()
        >>> stall.looked(State(1), 10.0)
        >>> stall.looked(State(1), 12.0)
        >>> stall.is_stuck(12.0), stall.is_stuck(15.0)
        (False, True)
    """

    state: State = State()
    since: float = float("inf")

    def looked(self, state: State, now: float) -> None:
        """The store is here."""
        if state != self.state or self.since > now:
            self.state, self.since = state, now

    def is_stuck(self, now: float) -> bool:
        """Whether nothing has moved for `STUCK_SECONDS`."""
        return now - self.since >= STUCK_SECONDS


async def end_others(link: Link, stall: Stall, own: str) -> None:
    """End the transactions of all other processes; one that lives begins anew.

    Args:
        link: To the server.
        stall: What was seen of the store; from now on it is watched anew.
        own: Who this process is, to the store.
    """
    sessions = [one for author, one in stall.state.sessions.items() if author != own and one is not None]
    stall.since = link.host.monotonic()
    _log.warning(
        "a transaction has held up the store %s for %.0f s; ending those of %d other processes",
        *(link.place, STUCK_SECONDS, len(sessions)),
    )
    _ = await link.client.admin.command("killSessions", sessions)
