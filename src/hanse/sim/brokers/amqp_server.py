"""A RabbitMQ for worlds: AMQP 0-9-1 as our adapter uses it, with what RabbitMQ is documented to do to messages.

- A queue that deletes itself goes with the last who takes from it, and what is in it is lost; so is what is not
  persistent when the server is killed.
- What was handed out and not acknowledged is handed out again, marked so, when the connection ends; one that says
  nothing is ended by its missing heartbeats.
- A stream is not flushed to the disk; a fresh queue that is to last is lost where the server is killed at once.
- A server that is short of memory or disk reads nothing more from those who publish, and says so.

It is written for asyncio alone, so it serves real sockets as well as simulated ones; that is how it is held against a
real server. It has one user, one virtual host, no cluster and no TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, cast, final

from pamqp import base, commands

from hanse.kernel.faults import Malformed
from hanse.sim.brokers.amqp_channel import Channel
from hanse.sim.brokers.amqp_host import ACCESS_REFUSED, CHANNEL_ERROR, NOT_ALLOWED, Ending, VirtualHost
from hanse.sim.brokers.amqp_queues import Storage
from hanse.transport.amqp.frames import (
    END,
    FRAME_BYTES,
    FRAME_MAX,
    GREETING,
    HEAD_BYTES,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    command_in,
    head,
    method,
)

PORT: Final = 5672
VERSION: Final = "4.1.0"
"""The version whose words it speaks."""

HEARTBEAT_SECONDS: Final = 60
"""Between signs of life, unless a client wants more of them."""

CHANNELS_MAX: Final = 2_047
"""Of one connection."""

MISSED_MAX: Final = 1
"""Times in a row that a client has said nothing since the last; at the next it is cut off."""

LOGIN: Final = "\0guest\0guest"
"""Who may come."""


@final
class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: AmqpServer) -> None:
        self.blocked = False
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._came = bytearray()
        self._out: list[bytes] = []
        self._channels: dict[int, Channel] = {}
        self._next: Callable[[base.Frame], None] | None = None
        self._greeted = self._leaving = False
        self._heard = True
        self._missed = 0
        self._seconds = 0
        self._timers: list[asyncio.TimerHandle] = []

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.clients[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._server.clients.pop(self, None)
        for timer in self._timers:
            timer.cancel()
        self._end()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._came += data
        self._go_on()

    # What the server does with it.

    def say(self, said: bytes) -> None:
        """Say frames, with all else that is said in this turn."""
        if self._transport is None:
            return
        if not self._out:
            _ = self._loop.call_soon(self._flush)
        self._out.append(said)

    def free(self) -> None:
        """Messages are taken again."""
        if self.blocked and self._transport is not None:
            self.blocked = False
            self._tell(commands.Connection.Unblocked())
            self._transport.resume_reading()
            self._go_on()

    def _tell(self, command: base.Frame) -> None:
        self.say(method(0, command))

    def _flush(self) -> None:
        for channel in self._channels.values():
            channel.confirm()
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _end(self) -> None:
        """What it had goes to others, or away."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            if channel.open:
                channel.close()
        self._server.host.forget(self)

    def _go_on(self) -> None:
        try:
            while not self.blocked and self._transport is not None and self._frame():
                pass
        except Ending as problem:
            self._refuse(problem.code, problem.text)
        except Malformed as fault:
            self._refuse(501, f"FRAME_ERROR - {fault.detail}")

    def _refuse(self, code: int, text: str) -> None:
        """Say why, and wait until the client has heard it."""
        self._end()
        self._leaving = True
        self._tell(commands.Connection.Close(code, text, 0, 0))

    def _frame(self) -> bool:
        """Do what the next frame says; whether it was there. Raises `Ending` and `Malformed`."""
        came = self._came
        if not self._greeted:
            return self._greeting()
        if len(came) < HEAD_BYTES:
            return False
        kind, number, size = cast("tuple[int, int, int]", head.unpack_from(came))
        end = HEAD_BYTES + size + 1
        if size > FRAME_MAX - FRAME_BYTES:
            raise Malformed(f"expected a frame of at most {FRAME_MAX} bytes, got {size + FRAME_BYTES}")
        if len(came) < end:
            return False
        payload, whole = bytes(came[HEAD_BYTES : end - 1]), came[end - 1] == END
        del came[:end]
        if not whole:
            raise Malformed("expected the end of a frame where it said that it is")
        if kind != HEARTBEAT:
            self._take(kind, number, payload)
        return True

    def _greeting(self) -> bool:
        if len(self._came) < len(GREETING) or self._transport is None:
            return False
        came = bytes(self._came[: len(GREETING)])
        del self._came[: len(GREETING)]
        if came != GREETING:
            self._transport.write(GREETING)
            self._transport.close()
            return False
        self._greeted, self._next = True, self._start
        self._tell(
            commands.Connection.Start(
                server_properties={
                    "product": "RabbitMQ",
                    "version": self._server.version,
                    "capabilities": {
                        "authentication_failure_close": True,
                        "basic.nack": True,
                        "connection.blocked": True,
                        "consumer_cancel_notify": True,
                        "publisher_confirms": True,
                    },
                },
                mechanisms="PLAIN",
                locales="en_US",
            )
        )
        return True

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        command = command_in(payload) if kind == METHOD else None
        if not number and command is not None:
            self._said(command)
        elif self._leaving or self._next is not None:
            pass  # it does not know yet that this is over, or that it has not begun
        elif isinstance(command, commands.Channel.Open) and number not in self._channels:
            self._channels[number] = Channel(number, self._server.host, self, self.say)
            self.say(method(number, commands.Channel.OpenOk()))
        elif (channel := self._channels.get(number)) is None:
            raise Ending(CHANNEL_ERROR, "CHANNEL_ERROR - expected 'channel.open'")
        else:
            channel.frame(kind, payload, command)
            if channel.ended:
                del self._channels[number]
            if isinstance(command, commands.Basic.Publish) and self._server.short:
                self._block()

    def _block(self) -> None:
        """It publishes, and messages are not taken."""
        self.blocked = True
        self._tell(commands.Connection.Blocked(self._server.short))
        if self._transport is not None:
            self._transport.pause_reading()

    # The connection itself.

    def _said(self, command: base.Frame) -> None:
        if isinstance(command, commands.Connection.Close):
            self._end()
            self._tell(commands.Connection.CloseOk())
            self._leave()
        elif isinstance(command, commands.Connection.CloseOk) and self._leaving:
            self._leave()
        elif self._next is not None and not self._leaving:
            self._next(command)
        elif not self._leaving:
            raise Ending(503, f"COMMAND_INVALID - expected no {command.name} by now")

    def _leave(self) -> None:
        self._leaving = True
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _start(self, command: base.Frame) -> None:
        if not isinstance(command, commands.Connection.StartOk) or command.response != LOGIN:
            raise Ending(
                ACCESS_REFUSED,
                "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker "
                "logfile.",
            )
        self._next = self._tuned
        self._tell(commands.Connection.Tune(CHANNELS_MAX, FRAME_MAX, HEARTBEAT_SECONDS))

    def _tuned(self, command: base.Frame) -> None:
        if not isinstance(command, commands.Connection.TuneOk):
            raise Ending(503, f"COMMAND_INVALID - expected Connection.TuneOk, got {command.name}")
        self._next, self._seconds = self._opened, command.heartbeat or 0
        if self._seconds:
            self._timers = [self._loop.call_later(self._seconds / 2, self._beat), self._loop.call_later(*self._soon())]

    def _opened(self, command: base.Frame) -> None:
        if not isinstance(command, commands.Connection.Open):
            raise Ending(503, f"COMMAND_INVALID - expected Connection.Open, got {command.name}")
        if command.virtual_host != "/":
            raise Ending(NOT_ALLOWED, f"NOT_ALLOWED - vhost {command.virtual_host} not found")
        self._next = None
        self._tell(commands.Connection.OpenOk())

    # Signs of life.

    def _soon(self) -> tuple[float, Callable[[], None]]:
        return self._seconds, self._look

    def _beat(self) -> None:
        self.say(HEARTBEAT_FRAME)
        self._timers[0] = self._loop.call_later(self._seconds / 2, self._beat)

    def _look(self) -> None:
        # Of one that is blocked nothing is read, so nothing is expected.
        self._missed = 0 if self._heard or self.blocked else self._missed + 1
        self._heard = False
        if self._missed > MISSED_MAX and self._transport is not None:
            self._server.silent += 1
            self._transport.abort()
        else:
            self._timers[1] = self._loop.call_later(*self._soon())


@final
class AmqpServer:
    """One life of a server.

    Attributes:
        host: The queues and exchanges that it has.
        version: That it says it is.
        clients: Connections.
        short: Why it takes no messages; empty where it does.
        silent: How many were cut off as they said nothing.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float], *, version: str = VERSION) -> None:
        """Serve nobody yet.

        Args:
            storage: The queues on its disk.
            clock: Its wall clock.
            version: That it says it is.
        """
        self.host: VirtualHost = VirtualHost(storage, clock)
        self.version: str = version
        self.clients: dict[_Client, None] = {}
        self.short: str = ""
        self.silent: int = 0

    @property
    def idle(self) -> bool:
        """See `hanse.sim.carried.Broker.idle`."""
        return self.host.idle

    async def serve(self, host: str | None = None, port: int = PORT) -> asyncio.AbstractServer:
        """Begin to listen."""
        return await asyncio.get_running_loop().create_server(partial(_Client, self), host, port)

    def block(self, why: str) -> None:
        """Take no messages from now on, such as for `low on memory`."""
        self.short = why

    def free(self) -> None:
        """Take messages again."""
        self.short = ""
        for client in list(self.clients):
            client.free()
