"""picows: the smallest WebSocket server for Python, in Cython. `live_picows.py PORT`."""

import asyncio
import sys

import uvloop
from live_message import MESSAGE, TIMES
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

everybody: set[WSTransport] = set()
encoded = MESSAGE.encode()


class Talk(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        everybody.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        everybody.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        del transport
        if frame.msg_type == WSMsgType.TEXT:
            for _ in range(TIMES.get(frame.get_payload_as_utf8_text(), 0)):
                for one in everybody:
                    one.send(WSMsgType.TEXT, encoded)


async def main(port: int) -> None:
    await ws_create_server(lambda _: Talk(), "127.0.0.1", port, backlog=2048)
    await asyncio.Event().wait()


uvloop.run(main(int(sys.argv[1])))
