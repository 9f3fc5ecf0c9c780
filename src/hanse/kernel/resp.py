"""One connection to one Redis or its kin: commands in the order in which they were said, and what it tells by itself.

The protocol, RESP3, is cut into replies by hiredis, of the extra `hanse[redis]`. It is here as a transport and a store
both speak it, and neither knows the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias, cast, final

from hanse.kernel.faults import Misconfigured

Then: TypeAlias = Callable[[object], object] | None
"""Takes the reply to a command, a `ReplyError` among them; None where it is enough that there is one. Never raises."""

BUFFER_BYTES = 65_536
"""What the parser keeps of its buffer while nothing is in it."""

_CONFIRMATIONS = (b"subscribe", b"unsubscribe")
# What these commands are answered with looks like what a server says by itself, and comes in order all the same.


class ReplyError(Exception):
    """The server refuses a command."""


class BrokenError(Exception):
    """What the server says cannot be understood."""


class Reader(Protocol):
    """The parser: cuts what a server sends into replies."""

    def feed(self, data: bytes, /) -> None:
        """Take what came."""
        ...

    def gets(self) -> object:
        """The next reply, or what stands for none. Raises `BrokenError`."""
        ...


class _Hiredis(Protocol):
    PushNotification: type[list[object]]

    def Reader(  # noqa: N802 - as the library names it
        self,
        *,
        protocolError: Callable[[str], Exception],  # noqa: N803
        replyError: Callable[[str], Exception],  # noqa: N803
        notEnoughData: object,  # noqa: N803
    ) -> Reader: ...


def parser() -> _Hiredis:
    """The library that parses.

    Raises:
        Misconfigured: It is not installed.
    """
    try:
        return cast("_Hiredis", importlib.import_module("hiredis"))
    except ImportError:
        raise Misconfigured("redis:// needs a parser of its protocol: pip install 'hanse[redis]'") from None


def command(*parts: bytes) -> bytes:
    r"""A command as servers read it.

    Example:
        >>> command(b"GET", b"a")
        b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))


@final
class Script:
    """A script in Lua, and its name.

    Attributes:
        source: Its text.
        sha: What a server that has it calls it.
    """

    def __init__(self, source: str) -> None:
        """Name it.

        Args:
            source: Its text.
        """
        self.source: bytes = source.encode()
        self.sha: bytes = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()


@final
class Wire(asyncio.Protocol):
    """Commands to a server, and its replies.

    Attributes:
        ended: Set once it, or the one that it goes with, has ended.
        writable: Whether the server takes what it is sent.
        waiting: Bytes that it has not taken.
        why: Why it ended.
        quiet: How often in a row `look` found that nothing had come since the last time.
    """

    def __init__(self, told: Callable[[list[object]], object], ended: asyncio.Event) -> None:
        """Be ready for a connection.

        Args:
            told: Given what the server says without being asked; it never raises.
            ended: Set when this one ends, or another that it goes with.
        """
        library = parser()
        self._push = library.PushNotification
        self._nothing = object()
        self._reader = library.Reader(protocolError=BrokenError, replyError=ReplyError, notEnoughData=self._nothing)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._told = told
        self._thens: deque[Then] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._heard = True
        self.ended: asyncio.Event = ended
        self.writable: asyncio.Event = asyncio.Event()
        self.writable.set()
        self.why: str = ""
        self.quiet: int = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.why = self.why or (str(exc) if exc else "the server closed it")
        self._transport = None
        self._out.clear()
        self._out_bytes = 0
        self.writable.set()
        self.ended.set()
        error = ConnectionError(self.why)
        while self._thens:
            if (then := self._thens.popleft()) is not None:
                _ = then(error)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard = True
        reader, push, nothing, thens = self._reader, self._push, self._nothing, self._thens
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not nothing:
                if type(reply) is push and reply[0] not in _CONFIRMATIONS:
                    _ = self._told(reply)
                elif not thens:
                    raise BrokenError("it answers what it was not asked")  # noqa: TRY301 - as when it cannot be read
                elif (then := thens.popleft()) is not None:
                    _ = then(reply)
        except BrokenError as error:
            self.abort(f"it does not speak the protocol of Redis: {error}")

    @property
    def waiting(self) -> int:
        """Bytes that the server has not taken."""
        written = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return written + self._out_bytes

    def say(self, said: bytes, then: Then = None) -> None:
        """Say a command; it goes out with all else that this turn of the loop says.

        Args:
            said: As `command` makes it.
            then: Given the reply, or a `ConnectionError` if there will be none.
        """
        if self._transport is None:
            if then is not None:
                _ = then(ConnectionError(self.why))
            return
        if not self._out:
            _ = self._loop.call_soon(self.flush)
        self._out.append(said)
        self._out_bytes += len(said)
        self._thens.append(then)

    async def ask(self, *parts: bytes) -> object:
        """The reply to a command. Raises `ReplyError` or `ConnectionError`."""
        future: asyncio.Future[object] = self._loop.create_future()

        def then(reply: object) -> None:
            if future.done():
                return
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.say(command(*parts), then)
        return await future

    def look(self) -> None:
        """Have the server say something, and notice when it has not."""
        self.quiet = 0 if self._heard else self.quiet + 1
        self._heard = False
        self.say(command(b"PING"))

    def abort(self, why: str) -> None:
        """End it now."""
        self.why = self.why or why
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Write what was said so far."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0
