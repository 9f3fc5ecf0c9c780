"""What HAProxy tells of a request that is over, read. Pure."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from hanse.control.edge_figures import Counts
from hanse.deploy.edge.haproxy.layout import Slot
from hanse.deploy.edge.haproxy.shown import service_of, slot_of

FIELDS = 9
"""Of a line, before what an access log has besides."""

ACCESS_FIELDS = 6
"""That it has besides."""

_ERROR = 500
_GONE = frozenset("C")
"""First letter of how a session ended, where the client left."""


class Over(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is over.

    Attributes:
        service: Who was asked.
        route: Path of its route.
        slot: Who answered, or failed last; None for nobody.
        backend: Number of its backend, where one was chosen.
        status: What was answered; 0 for nothing.
        seconds: To the head of the answer; None where a server sent none.
        ended: How, in the two letters of HAProxy.
        retries: Attempts that failed before.
        safe: Whether it could be repeated.
        who: Who asked, as a hash; empty where nobody looked.
        access: What an access log tells besides.
    """

    service: str
    route: str
    slot: Slot | None
    backend: int | None
    status: int
    seconds: float | None
    ended: str
    retries: int
    safe: bool
    who: str = ""
    access: tuple[str, ...] = ()

    @property
    def gone(self) -> bool:
        """Whether the client left before it was answered."""
        return self.ended[:1] in _GONE and (self.seconds is None or self.status <= 0)

    @property
    def broken(self) -> bool:
        """Whether the server went away, or did not answer in time."""
        return self.ended[:1] == "S"

    @property
    def failed(self) -> bool:
        """Whether it came to nothing."""
        return not self.gone and (self.status >= _ERROR or self.broken)


def read(line: str) -> Over | None:
    """A request that is over, of its line; None where it was of no service.

    Example:
        >>> read("7573657273:0:%2Fusers b3 s0 200 0/1/12 -- 0 1 -").service
        'users'
    """
    parts = line.strip().split(" ")
    if len(parts) < FIELDS or parts[0].count(":") != 2:  # noqa: PLR2004 - three fields of a route
        return None
    route, backend, server, status, timers, ended, retries, safe, who = parts[:FIELDS]
    service, _, path = route.split(":")
    waited, connected, answered = (int(part.removeprefix("+")) for part in timers.split("/"))
    known = answered >= 0
    code = int(status)
    return Over(
        service=service_of(service),
        route=unquote(path, errors="surrogateescape"),
        slot=slot_of(backend, server),
        backend=int(backend[1:]) if backend[1:].isdecimal() else None,
        status=max(code, 0),
        seconds=(max(waited, 0) + max(connected, 0) + answered) / 1000 if known else None,
        ended=ended,
        retries=int(retries.removeprefix("+")),
        safe=safe == "1",
        who=who.removeprefix("-"),
        access=tuple(parts[FIELDS:]),
    )


def count(counts: Counts, over: Over) -> None:
    """Count a request that is over, among those of its key."""
    counts.requests += 1
    counts.retried += over.retries > 0
    if over.gone:
        counts.gone += 1
        return
    counts.errors += over.failed
    # Its head, or a part of it, had been sent when the server went away.
    counts.unknown += over.ended == "SH" and not over.safe
    counts.failed += over.broken and over.slot is not None
    if over.seconds is not None:
        counts.took(over.seconds)
