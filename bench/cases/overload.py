"""Ten times the load that a node can sustain, in an open loop: `overload.py SECONDS`.

The node lets `CALLS_MAX` calls in, each of which waits for 100 ms and writes a row; so it sustains ten times that many
a second at most. First it is asked for half of that, then for ten times as much, each request at its own moment,
whatever became of those before. What is told: its memory before that, after a fifth of it and at the end, what became
of the requests, and how late the answers were.
"""

from __future__ import annotations

import asyncio
import collections
import statistics
import sys
import tempfile
import time
from pathlib import Path

import meter

sys.path.insert(0, str(Path(__file__).parents[1]))

from process import Server, free_port

CALLS_MAX = 10
SUSTAINED = CALLS_MAX * 10
BODY = b'{"note":"%s"}' % (b"tea " * 50)
REQUEST = (
    b"POST /rpc/desk/sell HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY
CONNECTIONS_MAX = 600


class Crowd:
    """Clients, each with a connection of its own for as long as it waits."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open = 0
        self.statuses: collections.Counter[str] = collections.Counter()
        self.took: list[float] = []

    async def load(self, rate: float, seconds: float) -> None:
        self.statuses.clear()
        self.took.clear()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                tasks.create_task(self._ask())

    async def _ask(self) -> None:
        if not self._idle and self._open >= CONNECTIONS_MAX:
            self.statuses["no connection"] += 1
            return
        if not self._idle:
            self._open += 1
        try:
            link = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
            stays = await self._answered(*link)
        except (OSError, asyncio.IncompleteReadError):
            self.statuses["cut"] += 1
            self._open -= 1
        else:
            self._idle.extend([link] if stays else [])
            self._open -= not stays

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask, and count what comes; whether the connection stays."""
        began = time.perf_counter()
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        await reader.readexactly(int(lines.get(b"content-length", b"0")))
        status = head[9:12].decode()
        self.statuses[status] += 1
        if status == "200":
            self.took.append(time.perf_counter() - began)
        return lines.get(b"connection") != b"close"


async def main(seconds: float) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        app = str(Path(__file__).with_name("overload_hanse.py"))
        limits = ["--set", f"node.calls_max={CALLS_MAX}", "--store", f"sqlite:///{folder}/data"]
        command = [str(Path(sys.prefix) / "bin" / "hanse"), "run", app, "--port", str(port), *limits]
        with Server(command, port, folder=Path(folder)) as server:
            server.wait_ready("/livez")
            crowd = Crowd(port)
            await crowd.load(SUSTAINED / 2, seconds)
            assert set(crowd.statuses) == {"200"}, crowd.statuses
            before, usual = server.rss(), statistics.median(crowd.took)
            await crowd.load(SUSTAINED * 10, seconds)
            early = server.rss()
            await crowd.load(SUSTAINED * 10, seconds * 4)
            done, refused = crowd.statuses["200"], crowd.statuses["503"] + crowd.statuses["429"]
            other = sum(crowd.statuses.values()) - done - refused
            meter.tell(
                before_mb=before,
                early_mb=early,
                after_mb=server.rss(),
                done=done / seconds / 4,
                refused=refused / seconds / 4,
                other=other / seconds / 4,
                usual_ms=usual * 1e3,
                late_ms=statistics.median(crowd.took) * 1e3,
            )


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
