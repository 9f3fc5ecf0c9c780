"""What an edge has counted, as values: by service, release, server and route, since the engine began."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

from hanse.kernel.latency import BOUNDS_MS, no_latencies


class Key(msgspec.Struct, frozen=True, order=True):
    """Whose figures they are.

    Attributes:
        service: Who was asked.
        release: Which of its releases.
        server: Which server; empty for requests that none could be found for.
        route: Path of the route that led there.
    """

    service: str
    release: str
    server: str
    route: str


class Counts(msgspec.Struct):
    """What was counted of one key. Each request counts once, for the server that answered it or failed it last.

    Attributes:
        requests: Requests that are over.
        errors: Of these, answered with 500 or more, by the server or, for lack of its answer, by the edge.
        unknown: Of these errors, those whose outcome nobody knows: the server went away with the request.
        retried: Requests that another server, or another connection, had failed before.
        failed: Attempts that failed here, whether or not another one then answered.
        gone: Requests whose clients left before they were answered; no errors of anybody.
        whose: Requests of which it was looked who asked, as they are shared among releases; see `edge_people`.
        people: Of these, each who asked once a second, and nobody who has failed before.
        people_failed: Of those, each who failed, once in a rollout.
        buckets: How many took how long to the head of their answers, by `BOUNDS_MS`.
    """

    requests: int = 0
    errors: int = 0
    unknown: int = 0
    retried: int = 0
    failed: int = 0
    gone: int = 0
    whose: int = 0
    people: int = 0
    people_failed: int = 0
    buckets: list[int] = msgspec.field(default_factory=no_latencies)

    def took(self, seconds: float) -> None:
        """Count how long an answer took to its head."""
        self.buckets[bisect_left(BOUNDS_MS, seconds * 1000)] += 1


class Line(msgspec.Struct, frozen=True):
    """The figures of one key."""

    key: Key
    counts: Counts


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that an edge has counted.

    Attributes:
        since: When the engine began, in seconds since 1970: where this changes, all counts began anew.
        revision: Of the table in force.
        lines: By key; only those that have counted anything.
        in_flight: By server: requests, and tunnels such as WebSockets, that are under way.
        waiting: By key: requests that have no answer yet, by how long they wait (in `requests` and `buckets` alone);
            nothing, where the engine does not tell.
        ejected: Servers that get nothing because connections to them failed.
        kept: Servers that would be ejected too, if that did not take more than half of their pool.
        mirrored: Copies that were sent.
        unmirrored: Copies that were not, as too many were under way.
    """

    since: float
    revision: int
    lines: tuple[Line, ...] = ()
    in_flight: dict[str, int] = {}
    waiting: tuple[Line, ...] = ()
    ejected: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    mirrored: int = 0
    unmirrored: int = 0


def total(lines: Iterable[Line]) -> Counts:
    """What several keys have counted together.

    Example:
        >>> key = Key("users", "1.5", "users-1", "/")
        >>> total([Line(key, Counts(requests=2, errors=1)), Line(key, Counts(requests=3))]).requests
        5
    """
    counts = Counts()
    for line in lines:
        _add(counts, line.counts, 1)
    return counts


def since(before: Figures, after: Figures) -> dict[Key, Counts]:
    """What was counted between two looks; all of the later one, where the engine began anew in between."""
    known = {line.key: line.counts for line in before.lines} if before.since == after.since else {}
    return {line.key: _minus(line.counts, known.get(line.key)) for line in after.lines}


def merged(one: Figures, other: Figures) -> Figures:
    """What two edges of one system have counted; where either begins anew, so does all.

    Example:
        >>> key = Key("users", "1.5", "users-1", "/")
        >>> outer = Figures(since=1.0, revision=7, lines=(Line(key, Counts(requests=2)),))
        >>> inner = Figures(since=2.0, revision=7, lines=(Line(key, Counts(requests=3)),), in_flight={"users-1": 1})
        >>> both = merged(outer, inner)
        >>> both.since, both.lines[0].counts.requests, both.in_flight
        (2.0, 5, {'users-1': 1})
    """
    lines: dict[Key, list[Line]] = {}
    for line in (*one.lines, *other.lines):
        lines.setdefault(line.key, []).append(line)
    in_flight = Counter(one.in_flight)
    in_flight.update(other.in_flight)
    return Figures(
        since=max(one.since, other.since),
        revision=min(one.revision, other.revision),
        lines=tuple(Line(key, total(same)) for key, same in lines.items()),
        in_flight=dict(in_flight),
        ejected=tuple(dict.fromkeys((*one.ejected, *other.ejected))),
        kept=tuple(dict.fromkeys((*one.kept, *other.kept))),
        mirrored=one.mirrored + other.mirrored,
        unmirrored=one.unmirrored + other.unmirrored,
    )


def _minus(counts: Counts, old: Counts | None) -> Counts:
    difference = Counts()
    _add(difference, counts, 1)
    if old is not None:
        _add(difference, old, -1)
    return difference


def _add(into: Counts, counts: Counts, sign: int) -> None:
    for name in Counts.__struct_fields__[:-1]:
        setattr(into, name, getattr(into, name) + sign * getattr(counts, name))
    into.buckets[:] = [one + sign * other for one, other in zip(into.buckets, counts.buckets, strict=True)]
