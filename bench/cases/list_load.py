"""Loads a list: `list_load.py PORT FILTER first|thousandth SECONDS`; prints as `load.py` does."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import meter

CONNECTIONS = 8
PAGE = 100
STRIDE = 900
BEFORE = 999 * PAGE


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, query: str) -> bytes:
        self._writer.write(f"GET /places?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        body = await self._reader.readexactly(int(length.partition(b":")[2]))
        assert b" 200 " in head[:15], (head, body)
        return body


async def far(line: Line, wanted: str) -> str:
    """How the page after 999 others is asked for, by whatever the server calls its cursor."""
    cursor, left = "", BEFORE
    while left:
        size = min(left, STRIDE)
        page: dict[str, Any] = json.loads(await line.get(f"{wanted}&limit={size}{cursor}"))
        assert len(page["items"]) == size
        left -= size
        # One of ours is opaque, the peer's is the last id.
        cursor = f"&after={page['next']}" if page["next"] == page["items"][-1]["id"] else f"&cursor={page['next']}"
    return cursor


async def main(port: int, wanted: str, which: str, seconds: float) -> None:
    lines = [Line(*await asyncio.open_connection("127.0.0.1", port, limit=2**22)) for _ in range(CONNECTIONS)]
    query = f"{wanted}&limit={PAGE}" + (await far(lines[0], wanted) if which == "thousandth" else "")
    assert len(json.loads(await lines[0].get(query))["items"]) == PAGE
    done, ended = 0, False

    async def work(line: Line) -> None:
        nonlocal done
        while not ended:
            await line.get(query)
            done += 1

    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(work(line))
        await asyncio.sleep(meter.WARM_UP_SECONDS)
        print("begin", flush=True)
        begin, before = time.perf_counter(), done
        await asyncio.sleep(seconds)
        taken = time.perf_counter() - begin
        meter.tell(done=done - before, per_second=(done - before) / taken)
        ended = True


meter.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
