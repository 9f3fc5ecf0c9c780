"""A process that writes to a store, `writing.py KIND URL NAME WRITERS COMMITS`; tells each id with its positions."""

from __future__ import annotations

import asyncio
import sys
from pkgutil import resolve_name

from hanse.store.base import Batch, Mark
from hanse.testing.store_hooks import NOTES, ORDERS, emit, put


async def main(kind: str, url: str, name: str, writers: int, commits: int) -> None:
    store = resolve_name(kind).from_url(url)
    await store.open((ORDERS, NOTES))

    async def write(writer: int) -> None:
        for number in range(commits):
            id = f"{name}-{writer}-{number}"
            positions = await store.commit(Batch(1.0, (put(id, expected=0), emit(id)), (Mark("test", id),)))
            sys.stdout.write(f"{id} {' '.join(map(str, positions))}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(writer))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
