"""A process that writes to a store, `writing.py URL`, and tells each commit, until it is killed."""

from __future__ import annotations

import asyncio
import itertools
import sys

from hanse.store.base import Batch, Mark
from hanse.store.mongodb.store import MongodbStore
from hanse.testing.store_hooks import NOTES, ORDERS, emit, put


async def main(url: str) -> None:
    store = MongodbStore.from_url(url)
    await store.open((ORDERS, NOTES))
    numbers = itertools.count()

    async def write(writer: int) -> None:
        for number in numbers:
            id = f"{writer}-{number}"
            await store.commit(Batch(1.0, (put(id), emit(id)), (Mark("writing", id),)))
            sys.stdout.write(f"{id}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(write(writer))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
