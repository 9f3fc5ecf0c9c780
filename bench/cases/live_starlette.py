"""Starlette: everybody in a set, each sent to in turn; and an event stream that says nothing but signs of life."""

import asyncio
from collections.abc import AsyncIterator

from live_message import MESSAGE, TIMES
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

everybody: set[WebSocket] = set()


async def talk(one: WebSocket) -> None:
    await one.accept()
    everybody.add(one)
    try:
        while True:
            for _ in range(TIMES.get(await one.receive_text(), 0)):
                for other in list(everybody):
                    await other.send_text(MESSAGE)
    except WebSocketDisconnect:
        pass
    finally:
        everybody.discard(one)


async def events(_: Request) -> StreamingResponse:
    async def beats() -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n"
        while True:
            await asyncio.sleep(15)
            yield b":\n\n"

    return StreamingResponse(beats(), media_type="text/event-stream")


async def livez(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


app = Starlette(routes=[WebSocketRoute("/live", talk), Route("/items", events), Route("/livez", livez)])
