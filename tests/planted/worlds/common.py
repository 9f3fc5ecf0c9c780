"""What the worlds share."""

import asyncio
from typing import TypeVar

from hanse import Collection, Fault, Resource, Service, World
from hanse.contract.model import collection_of

R = TypeVar("R", bound=Resource)

TRIES = 200


async def insist(rows: Collection[R], row: R) -> None:
    """Write a row, whatever it takes."""
    for _ in range(TRIES):
        try:
            await rows.put(row)
        except Fault:
            await asyncio.sleep(0.5)
        else:
            return
    raise AssertionError(f"{row.id} could not be written in {TRIES} tries")


def tells_its_rows(world: World, service: type[Service], *kinds: type[Resource]) -> None:
    """The log of a service, read from its beginning, comes to the rows that are there."""
    for kind in kinds:
        told: dict[str, int] = {}
        name = collection_of(kind)
        for seq, op, id in world.query(service, "SELECT seq, op, id FROM log WHERE name = ? ORDER BY seq", name):
            assert isinstance(id, str)
            assert isinstance(seq, int)
            told[id] = seq
            if op == "deleted":
                del told[id]
        there = {row.id: row.rev for row in world.rows(kind)}
        assert told == there, f"the log tells {name} as {told}, and they are {there}"
