"""A replay begins with the youngest dead letter of a key.
Messages of one key are handled in the wrong order."""

from hanse import World, simulation
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_in
from hanse.delivery.drawers import of_key
from hanse.node import carrying
from hanse.store.base import Store
from hanse.store.query import Order, Query

from . import instead, mended


@instead(carrying)
async def oldest_of(store: Store, group: str, key: str) -> DeadLetter | None:
    last = Query(of_key(group, key), (Order(("order",), descending=True),), limit=1)
    rows = (await store.find(DEAD_LETTERS, last)).rows
    return letter_in(rows[0]) if rows else None


@simulation(mended.setup, seconds=mended.SECONDS)
async def replay_youngest_first(world: World) -> None:
    await mended.story(world)
