"""`broadcast` of the `websockets` library: one message to everybody who is connected. `live_websockets.py PORT`."""

import sys

import uvloop
from live_message import MESSAGE, TIMES
from websockets.asyncio.server import ServerConnection, broadcast, serve

everybody: set[ServerConnection] = set()


async def talk(one: ServerConnection) -> None:
    everybody.add(one)
    try:
        async for text in one:
            for _ in range(TIMES.get(str(text), 0)):
                broadcast(everybody, MESSAGE)
    finally:
        everybody.discard(one)


async def main(port: int) -> None:
    async with serve(talk, "127.0.0.1", port, backlog=2048, compression=None) as server:
        await server.serve_forever()


uvloop.run(main(int(sys.argv[1])))
