"""As little as an asyncio protocol can do: length, number, MessagePack; many calls at once over one connection.

The server answers where the bytes come in, without a task; both ends write once for many messages. There is no
deadline, no trace, no identity, no fault, no cancellation, no limit, no heartbeat.
"""

from __future__ import annotations

import asyncio
import struct
from typing import cast

import msgspec
from shop import Order

HEAD = struct.Struct(">II")
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Order).decode


class RawServer(asyncio.Protocol):
    """Gives back what it is given."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at, end, out = 0, len(data), list[bytes]()
        while end - at >= HEAD.size:
            size, number = HEAD.unpack_from(data, at)
            if end - at - HEAD.size < size:
                break
            body = encode(decode(data[at + HEAD.size : at + HEAD.size + size]))
            out += (HEAD.pack(len(body), number), body)
            at += HEAD.size + size
        self._rest = data[at:]
        if out:
            self._transport.write(b"".join(out))


class RawClient(asyncio.Protocol):
    """Asks, and hands each answer to whoever waits for it."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._out: list[bytes] = []
        self._waiting: dict[int, asyncio.Future[Order]] = {}
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self, order: Order) -> asyncio.Future[Order]:
        body = encode(order)
        self._number += 1
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(HEAD.pack(len(body), self._number) + body)
        future = self._waiting[self._number] = self._loop.create_future()
        return future

    def _flush(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= HEAD.size:
            size, number = HEAD.unpack_from(data, at)
            if end - at - HEAD.size < size:
                break
            self._waiting.pop(number).set_result(decode(data[at + HEAD.size : at + HEAD.size + size]))
            at += HEAD.size + size
        self._rest = data[at:]
