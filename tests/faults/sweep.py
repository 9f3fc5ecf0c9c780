"""Kills the parts of a shop at fault points, while somebody orders: what has come of the orders in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from tests.store.postgresql.server import Server

from hanse.kernel.fault_point import POINTS
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import GATEWAY
from hanse.node.node import Node

from .customer import Customer, Effects
from .parts import Dose, Part
from .places import Place, Site, site_of
from .shop import app

PARTS = ("orders", "payments", "mailer")
NOWHERE: Mapping[str, Sequence[str]] = MappingProxyType({})

_BY_LAYER: Mapping[str, tuple[str, ...]] = {
    "store": PARTS,
    "unit": PARTS,
    "relay": ("orders", "payments"),
    "inbox": ("mailer",),
    "replay": ("mailer",),
    "rule": ("orders",),
    "lease": PARTS,
    "replica": ("mailer",),
    "feed": ("orders",),
    "key": ("payments",),
    "schedule": ("payments",),
    "saga": ("orders",),
    "node": PARTS,
}
"""Which parts pass the points of a layer."""

NTH_MAX = 3
"""A point that is passed often is deadly the first, the second or the third time."""

ONCE = ("node.", "lease.")
"""What a process may pass once in its life."""

ORDERS_BETWEEN = 2
"""Orders that are placed between a kill and the next, of each part, so that what died is used again."""


class Survived(msgspec.Struct, frozen=True):
    """What was done in a place, and what has come of it.

    Attributes:
        place: Its title.
        kills: By fault point.
        effects: Of all orders.
    """

    place: str
    kills: dict[str, int]
    effects: Effects


def doses(points: Iterable[str], rounds: int, first: int = 0) -> dict[str, list[Dose]]:
    """So many kills at each point, by the part that is killed: those that pass it take turns."""
    found: dict[str, list[Dose]] = {part: [] for part in PARTS}
    for at, point in itertools.product(range(first, first + rounds), points):
        able = _BY_LAYER[point.partition(".")[0]]
        nth = 1 if point.startswith(ONCE) else 1 + at % NTH_MAX
        found[able[at % len(able)]].append(Dose(point, nth))
    return found


class Shop(NamedTuple):
    """A shop that runs, and who orders there."""

    site: Site
    parts: dict[str, Part]
    customer: Customer


@asynccontextmanager
async def opened(
    place: Place,
    folder: Path,
    names: Sequence[str] = PARTS,
    within: Mapping[str, Sequence[str]] = NOWHERE,
    database: Server | None = None,
) -> AsyncGenerator[Shop]:
    """A shop in a place; nobody orders yet.

    Args:
        place: Where.
        folder: For whatever it leaves.
        names: Of its parts.
        within: What the commands of some of them go behind.
        database: Its own, where it is not to have one as any other.
    """
    with site_of(place, folder, database) as site:
        parts = {name: Part(name, folder, site.options, within.get(name, ())) for name in names}
        async with AsyncExitStack() as stack:
            for part in parts.values():
                _ = stack.push_async_callback(part.end)
            _ = await asyncio.gather(*(part.start() for part in parts.values()))
            node = await stack.enter_async_context(Node(app, _settings(folder, site.options)))
            yield Shop(site, parts, Customer(node))


async def survive(place: Place, folder: Path, wanted: Mapping[str, Sequence[Dose]]) -> Survived:
    """Run a shop, kill its parts one after the other, and count what has come of the orders.

    Raises:
        AssertionError: A part did not come to its point, or died of something else.
    """
    async with opened(place, folder) as shop:
        async with shop.customer.ordering():
            for name, part in shop.parts.items():
                await _kill(part, wanted[name], shop.customer)
        effects = await shop.customer.effects()
    kills = Counter(itertools.chain.from_iterable(part.killed for part in shop.parts.values()))
    return Survived(place.title, {point: kills[point] for point in POINTS if kills[point]}, effects)


async def _kill(part: Part, wanted: Sequence[Dose], customer: Customer) -> None:
    await customer.more(ORDERS_BETWEEN)
    await part.end()
    for dose in wanted:
        await part.take(dose)
    _ = await part.start()
    await customer.more(ORDERS_BETWEEN)


def _settings(folder: Path, options: Sequence[str]) -> Settings:
    """Of a node in the test's own process, which serves nothing and calls the others."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    return Settings(
        node=NodeSettings(
            services=(GATEWAY,),
            transport=given["--transport"].replace("unix:", f"unix:{folder}/"),
            discovery=given.get("--discovery", ""),
            discovery_keys=tuple(key for key in [given.get("--set", "").partition("=")[2]] if key),
            events="broker" if "--events" in given else "log",
            grace=1.0,
        )
    )
