"""WebSocket: several subscriptions, calls and writes over one connection. The shell round `socket_protocol`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import assert_never, cast

from hanse.gateway.asgi import Request
from hanse.gateway.problem import NoRoute, known, problem_of
from hanse.gateway.socket_asks import Live
from hanse.gateway.socket_protocol import (
    Action,
    Ask,
    Begin,
    Call,
    Close,
    Conversation,
    Id,
    Refuse,
    Run,
    Stop,
    Subscribe,
)
from hanse.gateway.sse import NAMES, Position, data_of
from hanse.gateway.streams import Streams, Unread, abort, first_of, until
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Overloaded, Unavailable
from hanse.service.rows import Line

RESTARTING = 1012
"""Close code: the server goes; come back, and resume."""

FAREWELL_SECONDS = 1.0
"""For a close message to be taken by a client that has not read for long."""


class Sockets:
    """Answers handshakes."""

    def __init__(self, path: str, live: Live, streams: Streams) -> None:
        self._path = path
        self._live = live
        self._streams = streams

    async def __call__(self, request: Request) -> None:
        """Talk until the client goes, or the node drains.

        Raises:
            NoRoute: The handshake is for another path.
        """
        if request.path != self._path:
            raise NoRoute(request.path[:200])
        with self._streams.opened() as end:
            _ = await request.receive()
            await request.send({"type": "websocket.accept"})
            await Socket(request, self._live, self._streams).run(end)


class Socket:
    """One conversation."""

    def __init__(self, request: Request, live: Live, streams: Streams) -> None:
        self._request = request
        self._live = live
        self._limits = streams.limits
        self._host = streams.host
        self._talk = Conversation(streams.limits, live.streaming)
        self._telling: dict[Id, asyncio.Task[None]] = {}
        self._asks: set[asyncio.Task[None]] = set()
        self._unread = Unread(streams.host.monotonic)
        self._closed = False
        self._leaving = False

    async def run(self, end: asyncio.Event) -> None:
        """Talk until it ends."""
        async with asyncio.TaskGroup() as group:
            await first_of(self._read(group), self._keep(end))
            for task in (*self._telling.values(), *self._asks):
                _ = task.cancel()

    async def _read(self, group: asyncio.TaskGroup) -> None:
        while not self._closed:
            event = await self._request.receive()
            if event["type"] == "websocket.disconnect":
                return
            for action in self._talk.receive(cast("str | None", event.get("text"))):
                await self._perform(action, group)

    async def _perform(self, action: Action, group: asyncio.TaskGroup) -> None:
        if self._leaving and isinstance(action, (Begin, Run)):
            action = Refuse(action.ask.id, Unavailable("the server is stopping; come back and ask again"))
        match action:
            case Begin(ask):
                self._telling[ask.id] = group.create_task(self._tell(ask))
            case Run(ask):
                task = group.create_task(self._answer(ask))
                self._asks.add(task)
                task.add_done_callback(self._asks.discard)
            case Stop(id):
                _ = self._telling[id].cancel()
                await self._send(b'{"id":%b,"result":null}' % encode_json(id))
            case Refuse(id, fault):
                await self._refuse(id, fault)
            case Close(code, reason):
                await self._close(code, reason)
            case _:
                assert_never(action)

    async def _tell(self, ask: Subscribe | Call) -> None:
        head = b'{"id":%b,' % encode_json(ask.id)
        try:
            if isinstance(ask, Subscribe):
                await self._pump(_events(head, self._live.follow(ask), Position(resumable=bool(ask.after))))
            else:
                await self._pump(_items(head, self._live.items(ask)))
                await self._send(head + b'"result":null}')
        except Exception as error:  # noqa: BLE001 - told to whoever subscribed
            await self._refuse(ask.id, error)
        finally:
            self._talk.ended(ask.id)
            _ = self._telling.pop(ask.id, None)

    async def _pump(self, messages: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(messages):
            async for message in messages:
                await self._send(message)

    async def _answer(self, ask: Ask) -> None:
        try:
            result = await self._live.answer(ask)
            await self._send(b'{"id":%b,"result":%b}' % (encode_json(ask.id), result))
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            await self._refuse(ask.id, error)
        finally:
            self._talk.answered()

    async def _refuse(self, id: Id | None, error: Exception) -> None:
        problem = problem_of(known(error, self._host), self._request.trace_id)
        await self._send(b'{"id":%b,"error":%b}' % (encode_json(id), encode_json(problem)))

    async def _send(self, message: bytes) -> None:
        if self._closed:
            return
        with self._unread.giving(), suppress(OSError):  # a client that has gone; the reader is told, and ends it all
            await self._request.send({"type": "websocket.send", "text": message.decode()})

    async def _close(self, code: int, reason: str) -> None:
        self._closed = True
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                with suppress(OSError):
                    await self._request.send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            abort(self._request)

    async def _keep(self, end: asyncio.Event) -> None:
        if await until(end, self._unread, self._limits.stalled_seconds):
            await self._close(Overloaded.close_code, "nothing was read for too long; come back and resume")
            return
        self._leaving = True
        stalled = self._limits.stalled_seconds
        while self._asks and not (self._unread and self._unread.seconds >= stalled):
            await asyncio.wait(self._asks, timeout=stalled / 2)
        await self._close(RESTARTING, "the server is stopping; come back and resume")


async def _events(head: bytes, lines: AsyncIterator[Line], position: Position) -> AsyncGenerator[bytes, None]:
    lines = cast("AsyncGenerator[Line, None]", lines)
    try:
        async for line in lines:
            data = data_of(line, resumable=position.moves(line))
            name = encode_json(NAMES.get(line.event, line.event))
            yield b'%b"event":%b%b' % (head, name, data[1:] if data == b"{}" else b"," + data[1:])
    finally:
        await lines.aclose()


async def _items(head: bytes, items: AsyncIterator[object]) -> AsyncGenerator[bytes, None]:
    items = cast("AsyncGenerator[object, None]", items)
    try:
        async for item in items:
            yield b'%b"item":%b}' % (head, encode_json(item))
    finally:
        await items.aclose()
