"""A process that writes to a store, `writing.py URL NAME WRITERS COMMITS`, and tells the positions that it got."""

from __future__ import annotations

import asyncio
import sys

from hanse.store.postgresql import PostgresqlStore
from hanse.testing.store_hooks import NOTES, ORDERS, batch, emit, put


async def main(url: str, name: str, writers: int, commits: int) -> None:
    store = PostgresqlStore.from_url(url)
    await store.open((ORDERS, NOTES))

    async def write(writer: int) -> None:
        for number in range(commits):
            id = f"{name}-{writer}-{number}"
            sys.stdout.write(f"{' '.join(map(str, await store.commit(batch(put(id), emit(id)))))}\n")

    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(writer))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
