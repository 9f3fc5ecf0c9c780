"""Real processes on one SQLite file: killed in the middle of commits, and several at once."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hanse.store.base import Entry
from hanse.store.sqlite import SqliteStore
from hanse.testing.store_hooks import ORDERS, follow

# Writers commit side by side, each a row and an event, and print what has been acknowledged.
CHILD = """
import asyncio, sys
from hanse.store.sqlite import SqliteStore
from hanse.testing.store_hooks import ORDERS, batch, emit, put

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def write(store, worker):
    for n in range(count):
        id = f"{name}-{worker}-{n}"
        (seq, _) = await store.commit(batch(put(id, expected=0), emit(id)))
        print(id, seq, flush=True)

async def main():
    store = SqliteStore(path)
    await store.open([ORDERS])
    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(write(store, worker))
    await store.close()

asyncio.run(main())
"""


def started(path: Path, name: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", CHILD, path, name, str(count)], stdout=subprocess.PIPE, text=True)


def acknowledged(lines: Sequence[str]) -> dict[str, int]:
    # The last line of a killed process may be torn.
    words = [line.split() for line in lines if line.endswith("\n")]
    return {id: int(seq) for id, seq in words}


async def stored(path: Path, ids: Sequence[str]) -> tuple[dict[str, int], list[Entry]]:
    store = SqliteStore(path)
    await store.open([ORDERS])
    try:
        rows = {id: row.rev for id in ids if (row := await store.load("orders", id)) is not None}
        return rows, await follow(store, 0, await store.head(), limit=1000)
    finally:
        await store.close()


def require_whole(entries: Sequence[Entry]) -> None:
    """The log has no gap, and each commit's two entries stand together."""
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.id for entry in entries[::2]] == [entry.id for entry in entries[1::2]]


async def test_kill_9_loses_no_acknowledged_commit_and_leaves_none_half_done(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    for attempt in range(3):
        with started(path, f"run{attempt}", 10**9) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(300)]
            child.kill()
            lines += child.stdout.readlines()
        told = acknowledged(lines)
        rows, entries = await stored(path, list(told))
        assert rows == told
        require_whole(entries)


async def test_processes_that_open_one_new_file_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    children = [started(path, f"process{n}", 10) for n in range(4)]
    printed = await asyncio.gather(*(asyncio.to_thread(child.communicate) for child in children))
    assert [child.returncode for child in children] == [0] * 4
    told = acknowledged([line for output, _ in printed for line in output.splitlines(keepends=True)])
    rows, entries = await stored(path, list(told))
    assert rows == told
    assert len(told) == 4 * 8 * 10
    require_whole(entries)
