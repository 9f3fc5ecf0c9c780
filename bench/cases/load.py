"""Loads an HTTP server over raw connections, in this process: `load.py PORT create|get|route|call|rpc SECONDS`.

Each of 64 connections has one request under way: first those that create rows, but for `rpc`, which is `call` without
them. When it has warmed up it prints `begin`, and at the end its figures;
whoever started it reads the server's CPU at both moments.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from typing import cast

import meter

CONNECTIONS = 64
ROWS = 200
FILL_SECONDS_MAX = 10.0
SALE = b'{"number":123456,"customer":"Ada Lovelace, London","tags":["tea","gift","fragile"],"amount":1234.56}'
CREATE = (
    b"POST /sales HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(SALE)
) + SALE
GET = b"GET /sales/%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
ROUTE = (
    b"POST /sales/%%s/price?quantity=3&express=true HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(SALE)
) + SALE
ORDER = b'{"sale":%s,"quantity":3}' % SALE
CALL = (
    b"POST /rpc/desk/price HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ORDER)
) + ORDER


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._came = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not inherit from it
        self._transport.write(self._load.request())

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, blank, body = self._came.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            return
        self._came = b""
        self._load.answered(head, body)
        self._transport.write(self._load.request())

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost += 1


def _length(head: bytes) -> int:
    line = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(line.partition(b":")[2])


class Load:
    """The requests of all connections, and what came back."""

    def __init__(self, wanted: bytes) -> None:
        self.done = 0
        self.lost = 0
        self.ids: list[bytes] = []
        self.filled = asyncio.Event()
        self._wanted = wanted
        self._requests = itertools.cycle((CREATE,))

    def read(self) -> None:
        """Get the rows that were created, from now on."""
        self._go_on(GET)

    def route(self) -> None:
        """Ask a route of the program's own, from now on."""
        self._go_on(ROUTE)

    def call(self) -> None:
        """Call an operation, from now on."""
        self._wanted = b" 200 "
        self._requests = itertools.cycle((CALL,))

    def _go_on(self, request: bytes) -> None:
        self._wanted = b" 200 "
        self._requests = itertools.cycle([request % id for id in self.ids])

    def request(self) -> bytes:
        return next(self._requests)

    def answered(self, head: bytes, body: bytes) -> None:
        if self._wanted not in head[:15] and b" 201 " not in head[:15]:
            # An exception in a callback would be logged, and the load go on.
            print(f"expected {self._wanted!r}, got {head!r} {body!r}", file=sys.stderr, flush=True)
            os._exit(1)
        self.done += 1
        if not self.filled.is_set():
            self.ids.append(json.loads(body)["id"].encode())
            if len(self.ids) == ROWS:
                self.filled.set()


async def main(port: int, what: str, seconds: float) -> None:
    load = Load(b" 201 ")
    if what == "rpc":
        load.call()
        load.filled.set()
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    async with asyncio.timeout(FILL_SECONDS_MAX):
        await load.filled.wait()
    if what == "get":
        load.read()
    elif what == "route":
        load.route()
    elif what == "call":
        load.call()
    await asyncio.sleep(meter.WARM_UP_SECONDS)
    print("begin", flush=True)
    begin, done = time.perf_counter(), load.done
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - begin
    assert load.lost == 0
    meter.tell(done=load.done - done, per_second=(load.done - done) / taken)


if __name__ == "__main__":
    meter.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
