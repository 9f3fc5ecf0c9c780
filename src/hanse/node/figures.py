"""What a node knows about itself in numbers, for whoever watches it: `/metrics`, a dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.delivery.relay import Relay
from hanse.mesh.breaker import State
from hanse.node.hosted import Hosted
from hanse.store.base import CountsCommits, CountsLate
from hanse.store.query import Query

STORE_SECONDS_MAX = 2.0
"""How long a store may take to count; what it does not tell by then is left out."""


@runtime_checkable
class Counts(Protocol):
    """A service that counts what it does, for whoever watches its node.

    Attributes:
        __counts__: How often, by a name of low cardinality.
    """

    __counts__: Mapping[str, int]


class RelayFigures(msgspec.Struct, frozen=True):
    """One relay, or one subscriber to what a broker keeps.

    Attributes:
        name: The group of subscribers that it delivers to; `published` for what goes to a broker.
        lag: Entries of the log from the first on that it wants and has not seen acknowledged, or events that the broker
            keeps for the group; 0 where there is none.
        retries: Deliveries that failed and were tried again.
        gaps: How often entries were trimmed away before they were delivered.
    """

    name: str
    lag: int
    retries: int
    gaps: int


class StoreFigures(msgspec.Struct, frozen=True):
    """The store of one service.

    Attributes:
        service: Its name.
        up: Whether the store answers; where it does not, the rest is nothing.
        commits: Batches that this process has committed to it; None where the store does not count them.
        late: Batches of this process that it refused, as another has by now what they rest on; None as above.
        entries: Entries that its log has ever had: rows written, and events.
        dead_letters: Messages that wait for somebody to look at them.
        relays: What takes its log to subscribers.
        sagas: How many are in each state that is no end.
    """

    service: str
    up: bool
    commits: int | None = None
    late: int | None = None
    entries: int = 0
    dead_letters: int = 0
    relays: Sequence[RelayFigures] = ()
    sagas: Mapping[str, int] = {}


class ScheduleFigures(msgspec.Struct, frozen=True):
    """One `@every`, since this instance has the duty of its service.

    Attributes:
        name: Service and method.
        missed: Moments that passed while a run was under way, or while nobody was there to run it.
        failures: Runs that failed.
    """

    name: str
    missed: int
    failures: int


class NodeFigures(msgspec.Struct, frozen=True):
    """One node.

    Attributes:
        calls: Calls that have ended, by address and by the code of their fault; empty for those that went well.
        running: Operations that are being handled.
        breakers: What stands between it and an operation that it calls, by address.
        stores: By service.
        schedules: Those that run here.
        counted: What services have counted of their own work, by service and name.
    """

    calls: Mapping[tuple[str, str], int]
    running: int
    breakers: Mapping[str, State]
    stores: Sequence[StoreFigures]
    schedules: Sequence[ScheduleFigures] = ()
    counted: Mapping[tuple[str, str], int] = {}


def counted_by(hosted: Iterable[Hosted]) -> dict[tuple[str, str], int]:
    """What services that count have counted, by service and name."""
    return {
        (one.part.name, name): count
        for one in hosted
        if isinstance(one.instance, Counts)
        for name, count in sorted(one.instance.__counts__.items())
    }


async def store_figures(hosted: Hosted) -> StoreFigures:
    """What the store of a service tells, if it does in time."""
    try:
        async with asyncio.timeout(STORE_SECONDS_MAX):
            head = await hosted.store.head()
            dead = await hosted.store.count(DEAD_LETTERS, Query())
            sagas = {} if hosted.sagas is None else await hosted.sagas.counts()
            for relay in hosted.relays:
                await relay.look()
    except Exception:  # noqa: BLE001 - whatever is in its way, the figures of the others are told
        return StoreFigures(hosted.part.name, up=False)
    relays = [RelayFigures(relay.name, lag_of(relay, head), relay.retries, relay.gaps) for relay in hosted.relays]
    _ = await asyncio.gather(*(subscriber.look() for subscriber in hosted.subscribers))
    relays += [RelayFigures(one.name, one.lag, one.retries, 0) for one in hosted.subscribers]
    commits = hosted.store.commits if isinstance(hosted.store, CountsCommits) else None
    late = hosted.store.late if isinstance(hosted.store, CountsLate) else None
    figures = StoreFigures(hosted.part.name, up=True, commits=commits, late=late, entries=head, dead_letters=dead)
    return msgspec.structs.replace(figures, relays=relays, sagas=sagas)


def lag_of(relay: Relay, head: int) -> int:
    """Entries of a log that a relay has not seen acknowledged, from the first that it wants on.

    Args:
        relay: It sleeps through what it does not want: where nothing waits, its position says nothing.
        head: The newest position of its log.
    """
    return max(0, head - relay.position) if relay.behind else 0
