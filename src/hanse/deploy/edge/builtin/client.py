"""One connection of a client: its requests, one after the other, and the pace that it has to keep."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import cast, final

from hanse.deploy.edge.builtin.edge import Edge
from hanse.deploy.edge.builtin.exchange import Exchange
from hanse.deploy.edge.builtin.heads import read_line, reason_of
from hanse.deploy.edge.builtin.http1 import Body, End, Event, RequestHead, Upgraded
from hanse.gateway.callers import NO_HTTP, TOO_MANY, Callers
from hanse.gateway.limits import Limits
from hanse.gateway.pace import REFUSAL, Backlog, Head, body_seconds, too_slow
from hanse.gateway.problem import problem_response
from hanse.kernel.faults import Fault, Malformed

KEEP_ALIVE_SECONDS = 60.0
"""That a connection without a request stays open."""

LINGER_SECONDS = 2.0
"""That a client may go on sending what nobody reads: a socket that is closed at once would lose it the answer."""

LIMITS = Limits(body_seconds=math.inf)
"""What a client may do. Bodies may be long, and take long, as long as they move."""


@final
class Client(asyncio.Protocol):
    """A connection of a client."""

    def __init__(self, edge: Edge, callers: Callers, clients: set[Client]) -> None:
        """Be ready to be connected.

        Args:
            edge: What is shared.
            callers: Who has how many connections.
            clients: All connections that are open.
        """
        self.peer: str = ""
        self.full: bool = False
        self._edge = edge
        self._callers = callers
        self._clients = clients
        self._requests = edge.reading.requests()
        self._exchange: Exchange | None = None
        self._receiving = False
        self._later: deque[Event] = deque()
        self._head = Head(edge.loop.time())
        self._backlog = Backlog()
        self._reading = True
        self._body_bytes = 0
        self._body_waited = 0.0
        self._idle_since = edge.loop.time()
        self._lingers_until = 0.0
        self._working = False
        self._broken = False
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        stream = self._transport = cast("asyncio.Transport", transport)
        peer = cast("tuple[str, int] | str | None", transport.get_extra_info("peername"))
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        if not self._callers.admits(self.peer, lambda: not stream.is_closing()):
            stream.write(TOO_MANY)
            stream.close()
        else:
            self._clients.add(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        exchange = self._exchange
        if exchange is not None and exchange.tunnel is not None:
            exchange.tunnel.up(data)
            return
        if self._lingers_until or self._broken:
            return
        if exchange is not None and exchange.head.upgrade and not self._receiving:
            exchange.early(data)
            return
        in_body = self._requests.in_body
        try:
            events = self._requests.feed(data)
        except Malformed:
            self._take(self._requests.taken())
            if self._exchange is not None and not self._receiving:
                # What came before is answered first; it may take effect, and a 400 would say that it does not.
                self._broken = True
            else:
                self._refuse_bytes(NO_HTTP)
            return
        self._take(events)
        in_body = in_body or self._requests.in_body
        if self._head.took(len(data), self._edge.loop.time(), answered=self._exchange is None, in_body=in_body):
            self._refuse_bytes(REFUSAL)

    def eof_received(self) -> bool:
        """See asyncio."""
        tunnel = self._exchange.tunnel if self._exchange is not None else None
        return tunnel is not None and tunnel.asker_eof()

    def pause_writing(self) -> None:
        """See asyncio."""
        self.full = True
        if self._exchange is not None:
            self._exchange.asker_full(full=True)

    def resume_writing(self) -> None:
        """See asyncio."""
        self.full = False
        if self._exchange is not None:
            self._exchange.asker_full(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._clients.discard(self)
        self._later.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.asker_gone()

    # What an exchange calls.

    def write(self, data: bytes) -> None:
        """See `Asker`."""
        self._transport.write(data)

    def read(self, *, on: bool) -> None:
        """See `Asker`; of requests that wait behind the one in work no more is read either."""
        on = on and not self._later
        if on != self._reading and not self._transport.is_closing():
            self._reading = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def refuse(self, fault: Fault, trace_id: str) -> None:
        """See `Asker`."""
        exchange = self._exchange
        close = exchange is None or self._sending or self._edge.stopping or not exchange.head.keep_alive
        close = close or (exchange is not None and exchange.head.upgrade)
        self._transport.write(problem_bytes(fault, trace_id, exchange, close=close))
        self.over(keep=not close)

    def over(self, *, keep: bool) -> None:
        """See `Asker`."""
        self._exchange = None
        self._idle_since = self._edge.loop.time()
        if self._broken and not self._later:
            self._refuse_bytes(NO_HTTP)
        elif not keep or self._sending:
            self._linger(unread=self._sending)
        elif self._later:
            self._take([])
        else:
            self.read(on=True)

    def end_writing(self) -> None:
        """See `Asker`."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """See `Asker`."""
        self._exchange = None
        self._transport.abort()

    @property
    def _sending(self) -> bool:
        """Whether the client has not sent all of its request."""
        return self._receiving and not (self._later and isinstance(self._later[0], End))

    # What the server calls.

    @property
    def idle(self) -> bool:
        """Whether nothing is asked."""
        return self._exchange is None and not self._requests.in_message

    def close(self) -> None:
        """Close it, when what was written has gone out."""
        self._transport.close()

    def look(self, now: float, since: float) -> None:
        """Cut it, where the client is too slow; close it, where nothing has been asked for long.

        Args:
            now: On the loop's clock.
            since: Seconds since the last look.
        """
        left = self._transport.get_write_buffer_size() if self.full else 0
        if self._backlog.is_stuck(left, now, seconds=LIMITS.stalled_seconds):
            self._transport.abort()
        elif self._lingers_until:
            if now >= self._lingers_until:
                self._transport.abort()
        elif self._exchange is not None:
            self._look_at_body(self._exchange, since)
        elif self._head.is_late(now, LIMITS.head_seconds):
            self._transport.abort()
        elif now - self._idle_since > KEEP_ALIVE_SECONDS and self.idle:
            self._transport.close()

    def _look_at_body(self, exchange: Exchange, since: float) -> None:
        """A body has to come at a least pace, as long as somebody takes it."""
        if not self._receiving or not self._reading or not exchange.wants_body:
            return
        self._body_waited += since
        if self._body_waited > body_seconds(self._body_bytes, LIMITS):
            exchange.refuse_slow(too_slow(self._body_bytes, LIMITS))

    # Requests, in order.

    def _take(self, events: list[Event]) -> None:
        """Work through what has come, up to the end of the request that is in work."""
        self._later.extend(events)
        if self._working:
            return
        self._working = True
        try:
            while self._later and not self._lingers_until and self._is_now(self._later[0]):
                self._event(self._later.popleft())
        finally:
            self._working = False
        if self._later:
            self.read(on=False)
        elif not self._receiving:
            # Also while it is answered: so it is noticed when the client leaves.
            self.read(on=True)

    def _is_now(self, event: Event) -> bool:
        """Whether it belongs to the request that is in work, or nothing is."""
        return self._exchange is None or self._receiving or isinstance(event, Upgraded)

    def _event(self, event: Event) -> None:
        match event:
            case RequestHead():
                self._begin(event)
            case Body(data):
                self._body_bytes += len(data)
                if self._exchange is not None:
                    self._exchange.body(data)
            case End(trailers):
                self._receiving = False
                if self._exchange is not None:
                    self._exchange.body_end(trailers)
            case Upgraded(rest):
                if rest and self._exchange is not None:
                    self._exchange.early(rest)
            case _:
                raise AssertionError(event)

    def _begin(self, head: RequestHead) -> None:
        self._receiving, self._body_bytes, self._body_waited = True, 0, 0.0
        try:
            line = read_line(head, LIMITS)
        except Fault as fault:
            self._receiving = False
            self._transport.write(problem_bytes(fault, "", None, close=True))
            self._linger(unread=True)
            return
        self._exchange = exchange = Exchange(self._edge, self, head, line)
        exchange.begin()

    def _refuse_bytes(self, answer: bytes) -> None:
        """Answer what is no request, unless an answer is on its way."""
        exchange, self._exchange = self._exchange, None
        begun = exchange is not None and exchange.status
        if exchange is not None:
            exchange.asker_gone()
        if begun:
            self._transport.abort()
            return
        self._transport.write(answer)
        self._linger(unread=True)

    def _linger(self, *, unread: bool) -> None:
        """Say that this was all; drop what still comes, for a moment, as it would have the system drop the answer."""
        self._later.clear()
        self._lingers_until = self._edge.loop.time() + LINGER_SECONDS
        if unread and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
            self.read(on=True)
        else:
            self._transport.close()


def problem_bytes(fault: Fault, trace_id: str, exchange: Exchange | None, *, close: bool) -> bytes:
    """A problem as an answer of HTTP/1.1.

    Args:
        fault: What went wrong.
        trace_id: Of the story; empty for none.
        exchange: The request; None where it could not be read.
        close: Whether the connection is closed behind it.
    """
    answer = problem_response(fault, trace_id)
    lines = [b"HTTP/1.1 %d %b" % (answer.status, reason_of(answer.status)), b"Content-Type: " + answer.type.encode()]
    lines += [b"%b: %b" % (name, value) for name, value in answer.headers if name != b"connection"]
    lines.append(b"Content-Length: %d" % len(answer.body))
    if exchange is not None:
        lines.append(b"X-Request-ID: " + exchange.request_id.encode("latin-1"))
    if close:
        lines.append(b"Connection: close")
    body = b"" if exchange is not None and exchange.head.method == "HEAD" else answer.body
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
