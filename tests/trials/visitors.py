"""Visitors who come at their own times, whether or not those before were answered: an open loop."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - draws from a seed
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

USERS = 2_000
ANSWER_SECONDS = 30.0
LINKS_MAX = 200


class Visit(msgspec.Struct):
    """One request, and what came of it: `status` is 0 where nothing came, `sent` is when it went out."""

    at: float
    user: int
    method: str
    keyed: bool
    status: int = 0
    seconds: float = 0.0
    body: str = ""
    sent: float = 0.0


class Visitors:
    """Come so many a second, until told to stop; each is noted."""

    def __init__(self, url: str, per_second: float, *, seed: int = 1, posts: float = 0.0) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._host, self._port = address.hostname, address.port
        self._per_second, self._posts = per_second, posts
        self._chance = random.Random(seed)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.visits: list[Visit] = []

    async def during(self, work: Callable[[], Awaitable[None]]) -> list[Visit]:
        """Who came while some work was done."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            coming = group.create_task(self._come(group, loop.time()))
            await work()
            coming.cancel()
        for _, writer in self._idle:
            writer.close()
        return self.visits

    async def _come(self, group: asyncio.TaskGroup, begun: float) -> None:
        loop, number = asyncio.get_running_loop(), 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, begun + number / self._per_second - loop.time()))
            post = self._chance.random() < self._posts
            keyed = post and self._chance.random() < 0.5
            visit = Visit(loop.time(), self._chance.randrange(USERS), "POST" if post else "GET", keyed)
            self.visits.append(visit)
            _ = group.create_task(self._visit(visit, number))

    async def _visit(self, visit: Visit, number: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                visit.status, visit.body = await self._asked(visit, number)
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            visit.body = repr(error)
        visit.seconds = loop.time() - visit.at

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection that is kept, and that the other end has not given up meanwhile."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def _asked(self, visit: Visit, number: int) -> tuple[int, str]:
        reader, writer = self._kept() or await asyncio.open_connection(self._host, self._port)
        key = f"Idempotency-Key: visit-{number}\r\n" if visit.keyed else ""
        body = "Content-Length: 0\r\n" if visit.method == "POST" else ""
        head = f"{visit.method} /page HTTP/1.1\r\nHost: trial\r\nX-User-Id: {visit.user}\r\n{key}{body}\r\n"
        visit.sent = asyncio.get_running_loop().time()
        writer.write(head.encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        text = await reader.readexactly(int(fields["content-length"]))
        if fields.get("connection", "").lower() == "close" or len(self._idle) >= LINKS_MAX:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(lines[0].split()[1]), text.decode()
