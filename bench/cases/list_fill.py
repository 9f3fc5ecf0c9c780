"""Writes the places that the lists are read from, before a server starts: `list_fill.py hanse|peer`."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

PLACES = 112_000
"""Nine of ten match what is asked for: 100,800, so that there is a page of 100 after 999 others."""

BATCH = 5_000


def places() -> Iterator[tuple[str, str, str, str, int]]:
    for number in range(PLACES):
        kind = "far" if number % 10 == 0 else "near"
        yield f"{number:08x}", kind, kind, f"Place number {number}", number


def peer() -> None:
    base = sqlite3.connect("sales-orm.db")
    base.execute("PRAGMA journal_mode = WAL")
    base.execute(
        "CREATE TABLE places (id VARCHAR NOT NULL PRIMARY KEY, region VARCHAR NOT NULL, country VARCHAR NOT NULL, "
        "name VARCHAR NOT NULL, people INTEGER NOT NULL)"
    )
    base.execute("CREATE INDEX ix_places_region ON places (region, id)")
    base.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?)", places())
    base.commit()
    base.close()


async def hanse() -> None:
    from list_hanse import Place

    from hanse.kernel.codec import encode_json
    from hanse.service.shape import schema_of
    from hanse.store.base import Batch, Put
    from hanse.store.sqlite.store import SqliteStore

    store = SqliteStore("data/atlas.db")
    await store.open([schema_of(Place)])
    writes: list[Put] = []
    for id, region, country, name, people in places():
        row = Place(id=id, region=region, country=country, name=name, people=people)
        writes.append(Put("places", id, encode_json(row), f"m{id}"))
        if len(writes) == BATCH:
            await store.commit(Batch(at=0.0, writes=tuple(writes)))
            writes.clear()
    await store.commit(Batch(at=0.0, writes=tuple(writes)))
    await store.close()


if sys.argv[1] == "peer":
    peer()
else:
    Path("data").mkdir()
    asyncio.run(hanse())
