"""One connection to one server, from its first byte to its last: what is said in one turn goes out in one write."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import cast, final

import msgspec

from hanse.kernel.faults import Malformed
from hanse.transport.nats.login import Info
from hanse.transport.nats.parse import Parser, Take

_info = msgspec.json.Decoder(Info)


@final
class Wire(asyncio.Protocol):
    """Bytes to a server, and what it says.

    Attributes:
        info: What the server said of itself last.
        why: Why it ended, as far as the server told.
        full: Whether the server takes less than it is sent: what is written now stays in memory.
        quiet: How often in a row `look` found that nothing had come since the last time.
        out: What was said and is not written yet. Whoever puts something into it while it is empty calls `begin`.
    """

    def __init__(
        self, takes: Mapping[bytes, Take], changed: Callable[[Info], None], complained: Callable[[str], None]
    ) -> None:
        """Be ready for a connection.

        Args:
            takes: What is given the messages of each subscription, by its id.
            changed: Told when the server says something else of itself.
            complained: Told what the server does not like, but for what it closes the connection for.
        """
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = Parser(takes, self._said)
        self._changed = changed
        self._complained = complained
        self.out: list[bytes] = []
        self._heard = True
        self._pongs: list[asyncio.Future[None] | None] = []
        self.info: Info = Info()
        self.greeted: asyncio.Future[None] = self._loop.create_future()
        self.ended: asyncio.Event = asyncio.Event()
        self.writable: asyncio.Event = asyncio.Event()
        self.writable.set()
        self.full: bool = False
        self.why: str = ""
        self.quiet: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.why = self.why or (str(exc) if exc else "the server closed it")
        self.out.clear()
        self._transport = None
        self.full = False
        self.writable.set()
        self.ended.set()
        error = ConnectionError(self.why)
        for waiter in (self.greeted, *self._pongs):
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        if self.greeted.done() and not self.greeted.cancelled():
            _ = self.greeted.exception()  # whoever greeted may have gone
        self._pongs.clear()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.full = True
        self.writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.full = False
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = True
        try:
            self._parser.feed(data)
        except Malformed as fault:
            self.abort(fault.detail)

    @property
    def transport(self) -> asyncio.Transport:
        """What carries the bytes. Raises `ConnectionError` once it has ended."""
        if self._transport is None:
            raise ConnectionError(self.why)
        return self._transport

    def write(self, *parts: bytes) -> None:
        """Say something; it goes out with all else that this turn of the loop says."""
        if not self.out:
            self.begin()
        self.out += parts

    def begin(self) -> None:
        """Have all that is said from now on go out at the end of this turn of the loop."""
        _ = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was said so far."""
        if self.out and self._transport is not None:
            self._transport.write(b"".join(self.out))
        self.out.clear()

    async def round_trip(self) -> None:
        """Wait until the server has taken all that was said before. Raises `ConnectionError`."""
        if self._transport is None:
            raise ConnectionError(self.why)
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        self.write(b"PING\r\n")
        await pong

    def look(self) -> None:
        """Have the server say something, and notice when it has not."""
        self.quiet = 0 if self._heard else self.quiet + 1
        self._heard = False
        # Answers come in order, so this takes its place among those that somebody waits for.
        self._pongs.append(None)
        self.write(b"PING\r\n")

    def abort(self, why: str) -> None:
        """End it now."""
        self.why = self.why or why
        if self._transport is not None:
            self._transport.abort()

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Go on under TLS. Raises `OSError`."""
        plain = self.transport
        started = await self._loop.start_tls(plain, self, context, server_hostname=host)
        if started is None:
            raise ConnectionError(self.why or "the connection ended amid the TLS handshake")
        self._transport = started

    def _said(self, word: bytes, rest: bytes) -> None:
        if word == b"PING":
            self.write(b"PONG\r\n")
        elif word == b"PONG":
            pong = self._pongs.pop(0) if self._pongs else None
            if pong is not None and not pong.done():
                pong.set_result(None)
        elif word == b"INFO":
            self._told(rest)
        elif word == b"-ERR":
            self._erred(rest.strip(b" '").decode(errors="replace"))
        elif word != b"+OK":
            raise Malformed(f"expected what a NATS server says, got {word[:100]!r}")

    def _told(self, rest: bytes) -> None:
        try:
            self.info = _info.decode(rest)
        except msgspec.DecodeError as error:
            raise Malformed(f"expected what a NATS server says of itself: {error}") from None
        if not self.greeted.done():
            self.greeted.set_result(None)
        else:
            self._changed(self.info)

    def _erred(self, problem: str) -> None:
        """A server says why it will close a connection, or that it did not do something and goes on."""
        if problem.lower().startswith(("permissions violation", "invalid subject")):
            self._complained(problem)
        else:
            self.why = problem
