"""What an edge has counted, as a judge is told it.

Where an edge looks who asks, people are told and not requests: see `edge_people`. It keeps latencies in buckets, of all
requests: so what is slow begins at the end of a bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import msgspec

from hanse.control.edge_figures import Counts, Key
from hanse.control.window import Both, Outcomes

REQUESTS_MIN = 100
"""Answers of a route that were timed, from which on it is known what is slow; others go by those of the whole service.

Nodes time one call of 32: where more were asked for, a release of a service that is seldom called would be judged by
its failures alone. A limit that is a little off is so for both releases.
"""

SLOWEST_MIN = 500
"""From which on it is known what the slowest of a hundred is; below, nothing is among these."""

SLOW, SLOWEST = 0.95, 0.99


class Buckets(msgspec.Struct, frozen=True):
    """What is slow on a route, as the old release was before the rollout.

    Attributes:
        slow: Number of the last bucket that is not slow, of `BOUNDS_MS`; of twenty requests, one was beyond it at most.
        slowest: The same for one of a hundred.
    """

    slow: int
    slowest: int


def frozen(counted: Mapping[Key, Counts], service: str, release: str) -> dict[str, Buckets]:
    """What is slow, from what a release has answered so far; by route, and "" for all others.

    Args:
        counted: What was counted before the rollout, for as long as possible.
        service: Whose.
        release: The old one.

    Returns:
        Nothing where too few were timed to tell; then nothing is slow.
    """
    routes: dict[str, list[int]] = {}
    for key, counts in counted.items():
        if (key.service, key.release) == (service, release):
            for name in (key.route, ""):
                known = routes.get(name, [0] * len(counts.buckets))
                routes[name] = [one + other for one, other in zip(known, counts.buckets, strict=True)]
    return {
        name: Buckets(_quantile(buckets, SLOW), _slowest(buckets))
        for name, buckets in routes.items()
        if sum(buckets) >= REQUESTS_MIN
    }


def overdue(waiting: Mapping[Key, Counts], slow: Mapping[str, Buckets]) -> dict[Key, Counts]:
    """Requests that have no answer yet, and wait for longer than ninety-nine of a hundred did: they are slow already.

    Timed at once, they are timed in the same way when they are answered; so nobody has to wait for the answers of a
    release that is slow by seconds to know that it is. They are asked when they are answered, and not before: else
    whatever fails at last would be a failure of nobody, as who asked was counted by then.

    Args:
        waiting: Requests that wait, by how long; see `hanse.control.edge_figures.Figures`.
        slow: What is slow, as `frozen` tells it.
    """
    found: dict[Key, Counts] = {}
    for key, counts in waiting.items():
        limits = slow.get(key.route, slow.get(""))
        late = counts.buckets[limits.slowest + 1 :] if limits else []
        if any(late):
            found[key] = Counts(buckets=[*[0] * (len(counts.buckets) - len(late)), *late])
    return found


def told(
    counted: Mapping[Key, Counts],
    service: str,
    *,
    new: str,
    old: str,
    slow: Mapping[str, Buckets],
    waiting: Mapping[Key, Counts] | None = None,
) -> dict[str, Both]:
    """What came of a service's requests, for a `Window`.

    Args:
        counted: What was counted within it, as `edge_figures.since` tells it.
        service: Whose.
        new: The one that is judged.
        old: The one beside it.
        slow: What is slow, as `frozen` tells it.
        waiting: Requests that have no answer yet.

    Example:
        >>> key = Key("users", "1.5", "users-1.5-1", "/api/users")
        >>> counts = Counts(requests=4, errors=1)
        >>> for seconds in (0.01, 0.01, 0.01, 2.0):
        ...     counts.took(seconds)
        >>> limits = {"": Buckets(slow=10, slowest=21)}  # beyond 75 ms, and beyond 5 s
        >>> told({key: counts}, "users", new="1.5", old="1.4", slow=limits)["/api/users"].new
        {'users-1.5-1': Outcomes(asked=4, failed=1, timed=4, slow=1, slowest=0)}
    """
    routes: dict[str, tuple[dict[str, Outcomes], dict[str, Outcomes]]] = {}
    for key, counts in (*counted.items(), *overdue(waiting or {}, slow).items()):
        if key.service != service or key.release not in {new, old} or not key.server:
            continue
        of = routes.setdefault(key.route, ({}, {}))[0 if key.release == new else 1]
        of[key.server] = of.get(key.server, Outcomes()) + _outcomes(counts, slow.get(key.route, slow.get("")))
    return {route: Both(new=some, old=others) for route, (some, others) in routes.items()}


def _outcomes(counts: Counts, slow: Buckets | None) -> Outcomes:
    asked, failed = (counts.people, counts.people_failed) if counts.whose else (counts.requests, counts.errors)
    if slow is None:
        return Outcomes(asked, failed)
    return Outcomes(
        asked,
        failed,
        timed=sum(counts.buckets),
        slow=sum(counts.buckets[slow.slow + 1 :]),
        slowest=sum(counts.buckets[slow.slowest + 1 :]),
    )


def _slowest(buckets: list[int]) -> int:
    return _quantile(buckets, SLOWEST) if sum(buckets) >= SLOWEST_MIN else len(buckets) - 1


def _quantile(buckets: list[int], part: float) -> int:
    """The first bucket by whose end so large a part of all has come."""
    wanted, seen = ceil(part * sum(buckets)), 0
    for number, count in enumerate(buckets):
        seen += count
        if seen >= wanted:
            return number
    return len(buckets) - 1
