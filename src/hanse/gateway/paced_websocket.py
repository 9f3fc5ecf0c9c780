"""uvicorn's WebSocket connections on the parser of `websockets` (the extra `standard`), lent and kept alive.

uvicorn's own lose what came in one read with a frame that breaks the protocol, and have timers each for itself.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from hanse.gateway.limits import Limits
from hanse.gateway.pace import Backlog
from hanse.gateway.wire import Wired
from hanse.kernel.faults import Malformed

PING = b"\x89\x00"
"""A ping frame of a server, without a text of its own."""


class PacedWebSocket(Wired, WebSocketsSansIOProtocol):
    """A connection that knows when it last heard of its client, and since when that has taken nothing."""

    heard: float
    backlog: Backlog
    paused: bool = False
    pinged: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.heard = self.loop.time()
        self.backlog = Backlog()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.heard, self.pinged = self.loop.time(), False
        self.conn.receive_data(data)
        self.handle_events()
        if self.conn.parser_exc is not None and not self.close_sent:
            self.handle_parser_exception()

    def handle_cont(self, event: Frame) -> None:
        """See uvicorn; empty fragments are none, so that no endless row of them is kept."""
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """See uvicorn, which logs each text that is none with a traceback: what a stranger sends is no news."""
        if self.curr_msg_data_type == "text" and not self.close_sent and not is_text(b"".join(self.frames)):
            self.frames.clear()
            self.conn.send_close(Malformed.close_code)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.paused = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.paused = False
        super().resume_writing()

    def keep_alive(self, now: float, limits: Limits) -> None:
        """Ping, where nothing has come for long; cut, where nothing comes or goes at all.

        Args:
            now: On the loop's clock.
            limits: How long is long.
        """
        transport = self.transport
        left = transport.get_write_buffer_size() if self.paused else 0
        quiet = now - self.heard
        if self.backlog.is_stuck(left, now, seconds=limits.stalled_seconds) or (
            self.pinged and quiet >= limits.heartbeat_seconds + limits.stalled_seconds
        ):
            transport.abort()
        elif quiet >= limits.heartbeat_seconds and not self.pinged and self.handshake_complete and not self.close_sent:
            self.pinged = True
            transport.write(PING)


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        _ = data.decode()
    except UnicodeDecodeError:
        return False
    return True
