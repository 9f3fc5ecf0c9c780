"""A thousand clients in one process that count what they are told: `live_load.py PORT KIND CLIENTS SECONDS`.

One more connection asks for changes. It prints `idle`, `one`, `burst` and `end` where the phases begin and end, so that
whoever started it can read the server's memory and CPU there, and then its figures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from typing import cast

import meter

ROUND_SECONDS_MAX = 20.0
PAUSE_SECONDS = 0.03
AT_ONCE = 100
BURST = 20
MARK = b"#"
"""Once in each message, and in no head of a frame: `~` says there that the size takes two bytes."""

HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
STREAM = b"GET /items?snapshot=false HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


SHORT_MAX = 125
"""Bytes of a WebSocket message whose size is in the frame's second byte."""


def frame(text: str) -> bytes:
    body = text.encode()
    long = len(body) > SHORT_MAX
    size = b"\xfe" + len(body).to_bytes(2, "big") if long else bytes([0x80 | len(body)])
    return b"\x81" + size + bytes(4) + body  # a mask of zeros changes nothing


LISTEN = frame('{"op":"listen","id":1,"topic":"told"}')
SUBSCRIBE = frame('{"op":"subscribe","id":1,"collection":"items","snapshot":false}')


def change(kind: str, times: int) -> bytes:
    if kind == "peer":
        return frame("one" if times == 1 else "burst")
    arguments = json.dumps({"times": times})
    operation = "tell" if kind == "topic" else "change"
    return frame(f'{{"op":"call","id":2,"service":"board","operation":"{operation}","arguments":{arguments}}}')


class Crowd:
    """All clients, and what they have been told since the last change was asked for."""

    def __init__(self) -> None:
        self.came = 0
        self._wanted = 0
        self._all: asyncio.Future[float] | None = None

    async def hears(self, count: int, asker: Client, ask: bytes) -> float:
        """Seconds from asking until the last of so many messages is here."""
        self.came, self._wanted = 0, count
        self._all = asyncio.get_running_loop().create_future()
        begin = time.perf_counter()
        asker.transport.write(ask)
        async with asyncio.timeout(ROUND_SECONDS_MAX):
            return await self._all - begin

    def told(self, count: int) -> None:
        self.came += count
        if self.came >= self._wanted and self._all is not None and not self._all.done():
            self._all.set_result(time.perf_counter())


class Client(asyncio.Protocol):
    """One connection; ready when it has been answered with each of the signs, after which it says its next word."""

    def __init__(self, crowd: Crowd | None, opening: bytes, *signs: tuple[bytes, bytes]) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._crowd = crowd
        self._opening = opening
        self._signs = list(signs)
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not inherit from it
        self.transport.write(self._opening)

    def data_received(self, data: bytes) -> None:
        if not self._signs:
            if self._crowd is not None and (count := data.count(MARK)):
                self._crowd.told(count)
            return
        self._came += data
        if self._signs[0][0] not in self._came:
            return
        _, answer = self._signs.pop(0)
        self._came = b""
        if answer:
            self.transport.write(answer)
        if not self._signs:
            self.ready.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"closed after {self._came!r}"))


KINDS: dict[str, tuple[bytes, tuple[tuple[bytes, bytes], ...]]] = {
    "hanse": (HANDSHAKE, ((b"\r\n\r\n", SUBSCRIBE), (b"ready", b""))),
    "topic": (HANDSHAKE, ((b"\r\n\r\n", LISTEN), (b"ready", b""))),
    "peer": (HANDSHAKE, ((b"\r\n\r\n", b""),)),
    "events": (STREAM, ((b"ready", b""),)),
    "beats": (STREAM, ((b"retry", b""),)),
}
"""What a client says first, and what it waits for."""


async def connected(port: int, kind: str, crowd: Crowd, count: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    opening, signs = KINDS[kind]

    while len(clients) < count:
        size = min(AT_ONCE, count - len(clients))
        made = await asyncio.gather(
            *(loop.create_connection(lambda: Client(crowd, opening, *signs), "127.0.0.1", port) for _ in range(size))
        )
        for _, client in made:
            await asyncio.wait_for(client.ready, ROUND_SECONDS_MAX)
            clients.append(client)
    return clients


def mark(phase: str) -> None:
    print(phase, flush=True)


async def main(port: int, kind: str, count: int, seconds: float) -> None:
    crowd = Crowd()
    clients = await connected(port, kind, crowd, count)
    gc.collect()
    gc.freeze()
    await asyncio.sleep(meter.WARM_UP_SECONDS)
    if kind == "beats":
        mark("idle")
        await asyncio.sleep(seconds)
        mark("end")
        meter.tell()
        return
    asker = Client(None, HANDSHAKE, (b"\r\n\r\n", b""))
    await asyncio.get_running_loop().create_connection(lambda: asker, "127.0.0.1", port)
    await asker.ready
    for _ in range(3):
        await crowd.hears(count, asker, change(kind, 1))
    mark("idle")
    await asyncio.sleep(seconds)
    mark("one")
    ones = await _repeated(crowd, asker, change(kind, 1), count, seconds, PAUSE_SECONDS)
    mark("burst")
    bursts = await _repeated(crowd, asker, change(kind, BURST), count * BURST, seconds, 0.0)
    mark("end")
    meter.tell(
        last_ms=statistics.median(ones) * 1e3,
        ones=len(ones) * count,
        bursts=len(bursts) * count * BURST,
        burst_per_second=count * BURST / statistics.median(bursts),
    )
    if any(client.transport.is_closing() for client in clients):
        raise ConnectionError("the server has closed some of them")


async def _repeated(crowd: Crowd, asker: Client, ask: bytes, count: int, seconds: float, pause: float) -> list[float]:
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        found.append(await crowd.hears(count, asker, ask))
        await asyncio.sleep(pause)
    return found


meter.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
