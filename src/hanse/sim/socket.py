"""One end of a connection between simulated machines: what asyncio calls a transport.

    made -> (closing) -> gone

It does what asyncio's does over a socket of Linux: pieces come together or torn, writing is paused while the other side
does not read, what was written before `close` goes out, and whoever closes with something unread resets the connection.
What the system does, it does at once; what the process does, on its lane, so that a process that stands still reads
nothing and is connected to all the same.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, Final, Protocol, cast, final

from hanse.sim.flow import Incoming, Outgoing

HIGH_BYTES: Final = 64 * 1024
"""What waits to be sent until the protocol is asked to write no more, unless it says otherwise."""

READ_BYTES: Final = 256 * 1024
"""What is read at once, at most."""

Address = tuple[str, int]


class Wire(Protocol):
    """What a socket says to the other end; it comes in order, or the connection breaks."""

    def data(self, piece: bytes, /) -> None:
        """Send a piece."""
        ...

    def given_back(self, count: int, /) -> None:
        """Tell how much was read."""
        ...

    def end(self) -> None:
        """Tell that nothing more comes."""
        ...

    def gone(self, *, reset: bool) -> None:
        """There is no socket any more: whatever still comes for it is answered by a reset."""
        ...


@final
class SocketInfo:
    """The socket underneath, as far as anybody asks for it."""

    def __init__(self, own: Address, peer: Address | None) -> None:
        self._own = own
        self._peer = peer

    def getsockname(self) -> Address:
        """See `socket.socket.getsockname`."""
        return self._own

    def getpeername(self) -> Address:
        """See `socket.socket.getpeername`."""
        if self._peer is None:
            raise OSError(errno.ENOTCONN, "it listens, and is connected to nobody")
        return self._peer

    def setsockopt(self, *_: object) -> None:
        """See `socket.socket.setsockopt`: nothing changes."""

    def fileno(self) -> int:
        """See `socket.socket.fileno`: as of one that is closed."""
        return -1


@final
class Socket(asyncio.Transport):
    """See the module."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wire: Wire, outgoing: Outgoing, own: Address, peer: Address
    ) -> None:
        """Be connected; nothing is read before `begin`.

        Args:
            loop: The world's.
            wire: To the other end.
            outgoing: What goes there.
            own: Where this end is.
            peer: Where the other is.
        """
        super().__init__({"socket": SocketInfo(own, peer), "sockname": own, "peername": peer})
        self.incoming: Incoming = Incoming()
        self._loop = loop
        self._wire = wire
        self._out = outgoing
        self._context: Context = Context()
        self._protocol: asyncio.BaseProtocol | None = None
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4
        self._paused_writing = False
        self._reading = True
        self._read_due = self._write_due = False
        self._ending = self._end_said = self._end_told = False
        self._closing = self._gone = False
        self._on_gone: Callable[[], object] | None = None

    # What the system does.

    def begin(
        self, protocol: asyncio.BaseProtocol, context: Context, on_gone: Callable[[], object] | None = None
    ) -> None:
        """Serve a protocol from now on.

        Args:
            protocol: Told what comes.
            context: In which it is.
            on_gone: Called when it is told that the connection is lost.
        """
        self._protocol, self._context, self._on_gone = protocol, context, on_gone
        protocol.connection_made(self)
        self.stir()

    def stir(self) -> None:
        """Something came: have the process read, when it has its turn."""
        something = self.incoming.waiting or self.incoming.over
        if something and self._protocol is not None and not self._read_due and not self._gone:
            self._read_due = True
            _ = self._loop.call_soon(self._read, context=self._context)

    def given_back(self, count: int) -> None:
        """The other side has read something: have the process write, when it has its turn."""
        self._out.given_back(count)
        if self._out.unsent and not self._write_due and not self._gone:
            self._write_due = True
            _ = self._loop.call_soon(self._write, context=self._context)

    # What the process does.

    def _read(self) -> None:
        self._read_due = False
        if self._closing and self.incoming.broken is not None:
            self._lose(self.incoming.broken)
        if self._gone or self._closing or not self._reading:
            return
        if self.incoming.waiting:
            self._hand_over()
            self._give_back()
            self.stir()
        elif self.incoming.broken is not None:
            self._lose(self.incoming.broken)
        elif self.incoming.ended and not self._end_told:
            self._end_told = True
            self._told_end()

    def _give_back(self) -> None:
        if not self._gone and (read := self.incoming.give_back()):
            self._wire.given_back(read)

    def _hand_over(self) -> None:
        protocol = self._protocol
        try:
            if isinstance(protocol, asyncio.BufferedProtocol):
                room = memoryview(cast("bytearray", protocol.get_buffer(-1)))
                data = self.incoming.take(len(room))
                room[: len(data)] = data
                protocol.buffer_updated(len(data))
            else:
                cast("asyncio.Protocol", protocol).data_received(self.incoming.take(READ_BYTES))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio has it: the connection ends, the error is told
            self._failed(error, "data_received")

    def _told_end(self) -> None:
        try:
            stays = cast("asyncio.Protocol", self._protocol).eof_received()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - see `_hand_over`
            self._failed(error, "eof_received")
            return
        if not stays:
            self.close()

    def _failed(self, error: BaseException, where: str) -> None:
        self._loop.call_exception_handler({"message": f"a protocol failed in {where}", "exception": error})
        self._out.unsent.clear()
        self._lose(error if isinstance(error, Exception) else None)

    def _write(self) -> None:
        self._write_due = False
        if self._gone:
            return
        self._send()
        if self._paused_writing and len(self._out.unsent) <= self._low:
            self._paused_writing = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def _send(self) -> None:
        while piece := self._out.next():
            self._wire.data(piece)
        if self._out.unsent or self._gone:
            return
        if self._closing:
            self._lose(None)
        elif self._ending and not self._end_said:
            self._end_said = True
            self._wire.end()

    def _lose(self, why: Exception | None) -> None:
        """The socket is closed, and the protocol is told in the next turn."""
        if self._gone:
            return
        self._gone = self._closing = True
        if self.incoming.broken is None:
            self._wire.gone(reset=bool(self.incoming.waiting))
        else:
            self._wire.gone(reset=False)
        self._out.unsent.clear()
        _ = self._loop.call_soon(self._tell_lost, why, context=self._context)

    def _tell_lost(self, why: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(why)
        if self._on_gone is not None:
            _ = self._on_gone()

    # What protocols call; see `asyncio.Transport`.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """See `asyncio.WriteTransport.write`."""
        if self._gone or (self._closing and not self._out.unsent) or not data:
            return
        if self._ending:
            raise RuntimeError("Cannot call write() after write_eof()")
        self._out.put(data)
        self._send()
        if len(self._out.unsent) > self._high and not self._paused_writing and self._protocol is not None:
            self._paused_writing = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """See `asyncio.WriteTransport.writelines`."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport.can_write_eof`."""
        return True

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport.write_eof`."""
        if not self._ending and not self._closing:
            self._ending = True
            self._send()

    def close(self) -> None:
        """See `asyncio.BaseTransport.close`."""
        if not self._closing:
            self._closing = True
            self._send()

    def abort(self) -> None:
        """See `asyncio.WriteTransport.abort`."""
        self._closing = True
        self._out.unsent.clear()
        self._lose(None)

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport.is_closing`."""
        return self._closing

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport.is_reading`."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport.pause_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport.resume_reading`."""
        self._reading = True
        self.stir()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport.set_write_buffer_limits`."""
        if high is None:
            high = HIGH_BYTES if low is None else 4 * low
        low = high // 4 if low is None else low
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport.get_write_buffer_limits`."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport.get_write_buffer_size`."""
        return len(self._out.unsent)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport.set_protocol`."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport.get_protocol`."""
        return self._protocol or asyncio.Protocol()
