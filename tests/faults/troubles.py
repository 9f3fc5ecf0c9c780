"""What goes wrong around a shop that takes orders, apart from its own processes being killed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from .customer import Effects
from .leader import leader
from .parts import Dose
from .places import PLACES, Place
from .sweep import PARTS, Shop, opened

ORDERS = 10
"""That are placed between one thing that goes wrong and the next."""

STREAM = "HANSE_faults_EVENTS"
"""What NATS keeps the events of the shop in."""

PAUSE_SECONDS = 7.0
"""For which a process stands still: longer than it has its duty."""

PAUSED_AT = (
    Dose("unit.before_commit", 2),
    Dose("unit.before_commit", 5),
    Dose("relay.before_delivery"),
    Dose("rule.before_run"),
    Dose("lease.after_grant"),
    Dose("saga.step_before"),
    Dose("saga.step_committed"),
)

LATE = re.compile(r"lost the lead of|the lease .* is over")
"""What a process says that went on after its duty, or a row that it held, was another's."""

STARTS_MAX = 10
"""Of one whose store is held by another one that stands still in the middle of a commit."""


class Told(msgspec.Struct, frozen=True):
    """What was done, and what has come of it.

    Attributes:
        trouble: What it is called.
        place: The title of where.
        times: How often.
        effects: Of all orders.
        noticed: How often somebody gave up by itself, as what it worked under was over.
        late: How many commits a store refused for that; None where nobody asked.
    """

    trouble: str
    place: str
    times: int
    effects: Effects
    noticed: int = 0
    late: int | None = None


class Trouble(NamedTuple):
    """Something that goes wrong.

    Attributes:
        name: For commands.
        title: For people.
        places: Where.
        bring: Has it go wrong so many times, while customers order; how many commits came too late, if that is known.
        times: How often in the long form.
        instances: Parts of the shop.
    """

    name: str
    title: str
    places: tuple[Place, ...]
    bring: Callable[[Shop, int], Awaitable[int | None]]
    times: int = 5
    instances: tuple[str, ...] = PARTS


async def one_server_killed(shop: Shop, times: int) -> None:
    """Kill the servers of a broker one after the other, the first leader of its stream among them."""
    for at in range(times):
        server = shop.site.brokers[at % len(shop.site.brokers)]
        await asyncio.to_thread(server.kill)
        await shop.customer.more(ORDERS)
        server.start()
        await asyncio.to_thread(server.wait_ready)
        await shop.customer.more(ORDERS)


async def leader_killed(shop: Shop, times: int) -> None:
    """Kill the server that leads the stream of events, whichever that is by then."""
    for _ in range(times):
        server = await leader(STREAM, shop.site.brokers)
        await asyncio.to_thread(server.kill)
        await shop.customer.more(ORDERS)
        server.start()
        await asyncio.to_thread(server.wait_ready)
        await shop.customer.more(ORDERS)


async def all_servers_killed(shop: Shop, times: int) -> None:
    """Kill all servers of a broker at once."""
    for _ in range(times):
        for server in shop.site.brokers:
            await asyncio.to_thread(server.kill)
        for server in shop.site.brokers:
            server.start()
        for server in shop.site.brokers:
            await asyncio.to_thread(server.wait_ready)
        await shop.customer.more(ORDERS)


async def database_killed(shop: Shop, times: int) -> None:
    """Kill the database, and start it again."""
    assert shop.site.database is not None
    for _ in range(times):
        await asyncio.to_thread(shop.site.database.restart)
        await shop.customer.more(ORDERS)


async def paused(shop: Shop, times: int) -> int:
    """Have a process stand still at a point, for longer than it has its duty, while another does its work."""
    part, other, late = shop.parts["orders"], shop.parts["orders#2"], 0
    for at in range(times):
        await part.end()
        await other.end()  # or it would have the duty, and all that is to be done
        await part.pause(PAUSED_AT[at % len(PAUSED_AT)])
        _ = await other.start()
        await asyncio.sleep(PAUSE_SECONDS)  # its leases run out meanwhile, which nothing tells of
        part.signal(signal.SIGCONT)
        for _ in range(STARTS_MAX):
            if other.lives:
                break
            _ = await other.start()
        await shop.customer.more(ORDERS)
        late += await asyncio.to_thread(part.late)
    return late


WITH_BROKERS = tuple(place for place in PLACES if place.broker)
CLUSTERS = tuple(place for place in PLACES if place.transport == "nats x 3")
DATABASES = tuple(place for place in PLACES if place.store == "postgresql")

TROUBLES: Mapping[str, Trouble] = {
    one.name: one
    for one in (
        Trouble(
            "server", "one server of the broker is killed, each in turn, its leader too", CLUSTERS, one_server_killed, 6
        ),
        Trouble("leader", "the server that leads the stream of events is killed", CLUSTERS, leader_killed),
        Trouble("servers", "all servers of the broker are killed", WITH_BROKERS, all_servers_killed),
        Trouble("database", "PostgreSQL is killed", DATABASES, database_killed),
        Trouble(
            "pause",
            f"a process stands still for {PAUSE_SECONDS:g} s in the middle of its work, and another one takes over",
            (PLACES[0], Place("postgresql", "tcp")),
            paused,
            len(PAUSED_AT),
            (*PARTS, "orders#2"),
        ),
    )
}


async def suffer(trouble: Trouble, place: Place, folder: Path, times: int) -> Told:
    """Run a shop in a place, have something go wrong there, and count what has come of the orders."""
    async with opened(place, folder, trouble.instances) as shop:
        async with shop.customer.ordering():
            await shop.customer.more(ORDERS)
            late = await trouble.bring(shop, times)
        effects = await shop.customer.effects()
    return Told(trouble.name, place.title, times, effects, noticed(shop), late)


def noticed(shop: Shop) -> int:
    """How often its parts say that they gave up, as what they worked under was over."""
    return sum(part.told(LATE) for part in shop.parts.values())
