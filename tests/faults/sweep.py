"""Kills the parts of a shop at fault points, while somebody orders: what has come of the orders in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from hanse.kernel.fault_point import POINTS
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import GATEWAY
from hanse.node.node import Node

from .customer import Customer, Effects
from .parts import Dose, Part
from .places import Place, place_of
from .shop import app

PARTS = ("orders", "payments", "mailer")

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

ONCE = ("node.",)
"""What a process passes once in its life."""

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


async def survive(place: Place, folder: Path, wanted: Mapping[str, Sequence[Dose]]) -> Survived:
    """Run a shop, kill its parts side by side, and count what has come of the orders.

    Raises:
        AssertionError: A part did not come to its point, or died of something else.
    """
    with place_of(place, folder) as options:
        parts = [Part(name, folder, options) for name in wanted]
        async with AsyncExitStack() as stack:
            for part in parts:
                _ = stack.push_async_callback(part.end)
            _ = await asyncio.gather(*(part.start() for part in parts))
            node = await stack.enter_async_context(Node(app, _settings(folder, options)))
            customer = Customer(node)
            async with customer.ordering(), asyncio.TaskGroup() as group:
                for part in parts:
                    _ = group.create_task(_kill(part, wanted[part.name], customer))
            effects = await customer.effects()
    kills = Counter(itertools.chain.from_iterable(part.killed for part in parts))
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
            events="broker" if "--events" in given else "log",
            grace=1.0,
        )
    )
