"""One connection to another node: both ends greet, ask, answer, and say that they live.

    made -> greeted -> (leaving) -> lost

What is asked, either way, is in `Asked` and `Served`; here are the bytes, the greeting, the heartbeats and the end.
A connection on which something came that is no frame is closed: nothing after it could be understood.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast, final

import msgspec

from hanse.kernel.faults import Malformed
from hanse.kernel.host import Host
from hanse.transport.stream.asked import Asked
from hanse.transport.stream.frame import (
    ANSWER,
    ASKS,
    BEAT,
    CANCEL,
    GOODBYE,
    HELLO,
    MORE,
    PREFACE,
    REFUSE,
    REPLIES,
    REPLY,
    VERSION,
    Goodbye,
    Hello,
    Unpacker,
    decode_asks,
    decode_goodbye,
    decode_hello,
    decode_message,
    decode_refusal,
    decode_replies,
    decode_taken,
    frame_bytes_max,
)
from hanse.transport.stream.limits import StreamLimits
from hanse.transport.stream.outbound import Outbound
from hanse.transport.stream.served import Served, Serving

_log = logging.getLogger("hanse.transport")


class Owner(Protocol):
    """Whoever keeps the connections of a node."""

    def made(self, wire: Wire, /) -> bool:
        """A connection is made; whether there is room for it."""
        ...

    def greeted(self, wire: Wire, hello: Hello, /) -> None:
        """The other side said who it is: it may be asked."""
        ...

    def leaves(self, wire: Wire, goodbye: Goodbye, /) -> None:
        """The other side asks nothing more."""
        ...

    def idle(self, wire: Wire, /) -> None:
        """Nothing was asked for a long time."""
        ...

    def lost(self, wire: Wire, why: str, /) -> None:
        """The connection is no more."""
        ...


@final
class Wire(asyncio.BufferedProtocol):
    """A connection, whoever made it."""

    def __init__(self, owner: Owner, host: Host, limits: StreamLimits, serving: Serving, hello: Hello) -> None:
        """Be ready to be connected.

        Args:
            owner: Told how it goes.
            host: Its clock.
            limits: What is allowed.
            serving: What this node serves.
            hello: What to greet with.
        """
        self.out: Outbound = Outbound(limits)
        self.asked: Asked = Asked(host, limits, self.out)
        self.served: Served = Served(serving, limits, self.out)
        self.address: str = ""
        """Of the other node, where it is asked over this connection."""
        self.ready: asyncio.Future[None] | None = None
        """Of a connection that this node made: done when it was greeted."""
        self.peer: object = None
        """What the socket says of the other side."""
        self.greeted: bool = False
        self.closing: bool = False
        self._owner = owner
        self._host = host
        self._limits = limits
        self._hello = hello
        self._unpacker = Unpacker(frame_bytes_max(limits.bytes_max))
        self._transport: asyncio.Transport | None = None
        self._why = "the connection broke"
        self._told_goodbye = False
        now = host.monotonic()
        self._made = self._heard = self._said = self._used = now

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        stream = self._transport = cast("asyncio.Transport", transport)
        self.peer = transport.get_extra_info("peername")
        if not self._owner.made(self):
            transport.close()
            return
        self.out.open(stream, PREFACE)
        self.out.send(HELLO, 0, self._hello)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        del sizehint
        return self._unpacker.room()

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        heard = self._heard = self._host.monotonic()
        asked, served = self.asked, self.served
        try:
            for kind, number, content in self._unpacker.took(nbytes):
                # Those that are most in number come first.
                if kind == REPLIES:
                    asked.replied(decode_replies(content))
                elif not self.greeted:
                    self._greet(kind, content)
                elif kind == ASKS:
                    served.ask(decode_asks(content), heard)
                elif kind == REPLY:
                    asked.replied(((number, bytes(content)),))
                elif kind == ANSWER:
                    asked.answered(number, decode_message(content))
                else:
                    self._told(kind, number, content)
            if served.unwanted:
                served.forget()
        except Malformed as fault:
            self._refuse(fault.problem)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._refuse(f"a frame of version {VERSION} was expected: {error}")

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.out.pause()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self.out.resume()
        self.served.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        if exc is not None and not self.closing:
            self._why = f"the connection broke: {exc}"
        self.closing = True
        self.asked.lost(self._why)
        self.out.close()
        self.served.lost()
        self._owner.lost(self, self._why)

    # What the owner calls.

    @property
    def name(self) -> str:
        """Of the other side, for whoever reads the log."""
        return self.address or str(self.peer or "a node on this machine")

    @property
    def free(self) -> bool:
        """Whether nothing is under way."""
        return not len(self.asked) and not len(self.served)

    def tick(self, now: float) -> None:
        """Look how it goes; called every half of `beat_seconds`."""
        limits = self._limits
        if not self.greeted:
            if now - self._made >= limits.connect_seconds:
                self.abort(f"{self.name} did not greet within {limits.connect_seconds:g} s")
            return
        if now - self._heard >= limits.silent_seconds:
            _log.warning("connection with %s closed: it was silent for %.1f s", self.name, now - self._heard)
            self.abort(f"{self.name} was silent for {now - self._heard:.1f} s")
            return
        if self.out.said:
            self.out.said, self._said = False, now
        elif not self.out.paused and now - self._said >= limits.beat_seconds / 2:
            self.out.send(BEAT, 0, None)
        if self.asked.used or self.served.used or not self.free:
            self.asked.used = self.served.used = False
            self._used = now
        elif self.closing:
            # Both have what they asked for. Whoever was told goodbye closes; whoever said it does if that takes long.
            if self._told_goodbye or now - self._used >= limits.idle_seconds + limits.connect_seconds:
                self.close(self._why)
        elif self.ready is not None and now - self._used >= limits.idle_seconds:
            self._owner.idle(self)

    def woke(self, now: float) -> None:
        """This process did not run for a while: nobody could have been heard."""
        self._heard = now

    def leave(self, goodbye: Goodbye) -> None:
        """Ask nothing more; the other side closes when it has its answers."""
        if not self.closing:
            self.closing = True
            self._why = "this node closed the connection"
            self.out.send(GOODBYE, 0, goodbye)

    def close(self, why: str) -> None:
        """Write what is to be written, and end."""
        self.closing, self._why = True, why
        self.out.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """End at once."""
        self.closing, self._why = True, why
        if self._transport is not None:
            self._transport.abort()

    # What the other side says.

    def _refuse(self, problem: str) -> None:
        _log.warning("connection with %s closed: %s", self.name, problem)
        self.abort(f"what came from {self.name} was not understood: {problem}")

    def _greet(self, kind: int, content: memoryview) -> None:
        if kind != HELLO:
            raise Malformed(f"a greeting was expected first, a frame of kind {kind} came")
        hello = decode_hello(content)
        self.greeted = True
        self._owner.greeted(self, hello)

    def _told(self, kind: int, number: int, content: memoryview) -> None:
        if kind == CANCEL:
            self.served.cancel(number)
        elif kind == MORE:
            self.served.more(number, decode_taken(content))
        elif kind == REFUSE:
            self.asked.refused(number, decode_refusal(content))
        elif kind == GOODBYE:
            goodbye = decode_goodbye(content)
            self._why = f"{self.name} {'went away' if goodbye.leaves else 'closed the connection'}"
            self.closing = self._told_goodbye = True
            self._owner.leaves(self, goodbye)
        elif kind != BEAT:
            raise Malformed(f"a frame of version {VERSION} was expected, one of kind {kind} came")
