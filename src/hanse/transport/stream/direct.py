"""`unix:` and `tcp://`: messages over sockets, from node to node.

One connection carries whatever two nodes ask of each other. It is made when something is first asked, by whoever asks;
the other side uses it too where it comes from the address that it names. Lost connections are made again when needed,
after pauses that grow; whatever was under way ends with `Unavailable`, or `NotSent` where that is certain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import Fault
from hanse.kernel.host import TICK_SECONDS, Host
from hanse.kernel.message import CALL, Headers, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Answer, Call, Features, Receiver, whole
from hanse.transport.direct import NotSent
from hanse.transport.stream.frame import Goodbye, Hello
from hanse.transport.stream.limits import DEFAULT_LIMITS, StreamLimits
from hanse.transport.stream.served import Serving
from hanse.transport.stream.sockets import Server, Sockets, sockets_of
from hanse.transport.stream.tls import Tls
from hanse.transport.stream.wire import Wire

_log = logging.getLogger("hanse.transport")

CLOSE_SECONDS: Final = 1.0
"""Until what was written has gone out, when a node closes; then connections are cut."""

CONNECT_SHARE: Final = 0.5
"""Part of a message's time in which it has to be connected: who waits in vain can still ask somebody else."""

FAILED_MAX: Final = 10_000
"""Addresses whose failures are remembered, to pause before the next try."""

DOUBLED_MAX: Final = 20
"""How often a pause doubles: it has reached any sensible limit long before."""


@final
class _Dial:
    """A connection that is being made, and whoever waits for it."""

    def __init__(self) -> None:
        self.over: asyncio.Event = asyncio.Event()
        self.wire: Wire | str = "the transport was closed while it connected"


@final
class StreamDirect:
    """Moves messages to nodes by their addresses, over sockets; see `Direct` for what it promises."""

    def __init__(
        self,
        url: str | Sockets,
        host: Host,
        *,
        instance: str = "",
        limits: StreamLimits = DEFAULT_LIMITS,
        tls: Tls | None = None,
    ) -> None:
        """Be ready to listen.

        Args:
            url: Where, such as `unix:/run/shop` or `tcp://10.0.0.7:7421`; see `hanse.transport.stream.sockets`. Or
                sockets of another kind.
            host: Its clock and chance.
            instance: Name of this process; a new id by default.
            limits: What is allowed.
            tls: For `tcp://`.

        Raises:
            Misconfigured: The URL cannot be used.
            CouldNotStart: The certificates cannot.
        """
        self.features: Features = Features(durable=False, balances=False, bytes_max=limits.bytes_max)
        self.address: str = ""
        self._sockets = sockets_of(url, tls) if isinstance(url, str) else url
        self._host = host
        self._instance = instance or host.new_id()
        self._limits = limits
        self._server: Server | None = None
        self._serving: Serving | None = None
        self._lost: Callable[[str], None] = _nobody
        self._wires: dict[str, Wire] = {}
        self._all: dict[Wire, None] = {}
        self._dialing: dict[str, _Dial] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        self._tasks = Tasks(_report, limit=limits.serving_max + limits.connections_max)
        self._sweep: asyncio.TimerHandle | None = None
        self._swept = 0.0
        self._closed = True
        self._empty = asyncio.Event()

    @property
    def native(self) -> object:
        """What listens, such as an `asyncio.Server`; None before `open`."""
        return self._server

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return "the transport is closed" if self._closed else ""

    async def open(self, receiver: Receiver, lost: Callable[[str], None], /) -> None:
        """See `Direct.open`."""
        self._lost = lost
        self._serving = Serving(receiver, self._tasks)
        self._closed = False
        try:
            self._server, self.address = await self._sockets.listen(self._wire, self._instance)
        except BaseException:
            self._closed = True
            raise
        self._swept = self._host.monotonic()
        self._sweep = asyncio.get_running_loop().call_later(self._limits.beat_seconds / 2, self._look)

    async def close(self) -> None:
        """See `Direct.close`."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        if self._server is not None:
            self._server.close()
        self._sockets.close()
        for wire in list(self._all):
            wire.served.leave()
        await self._tasks.cancel()
        for wire in list(self._all):
            wire.leave(Goodbye(leaves=True))
            wire.close("this node closed the transport")
        if self._all:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._empty.wait()
        for wire in list(self._all):
            wire.abort("this node closed the transport")
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._server.wait_closed()
        await asyncio.sleep(0)  # uvloop closes what it listens with in its next turn, and the loop may have no other.

    def request(self, message: Message, to: str, /) -> Awaitable[Message]:
        """See `Direct.request`."""
        return self._request(message, to)

    async def _request(self, message: Message, to: str) -> Message:
        try:
            return whole(await self.ask(message, to), message)
        except asyncio.CancelledError:
            self.given_up()
            raise

    def ask(self, message: Message, to: str, /) -> Awaitable[Answer]:
        """See `AsksDirectly.ask`."""
        wire = self._wires.get(to)
        return self._dial_and_ask(message, to) if wire is None else wire.asked.ask(message)

    def calling(self, address: str, to: str, /) -> Call:
        """See `AsksDirectly.calling`."""
        wire_to = self._wires.get

        def call(id: str, timeout: float, headers: Headers, body: bytes) -> Awaitable[Answer]:
            wire = wire_to(to)
            if wire is None:
                return self._dial_and_ask(Message(CALL, id, address, timeout, headers, body), to)
            return wire.asked.call(id, address, timeout, headers, body)

        return call

    async def _dial_and_ask(self, message: Message, to: str) -> Answer:
        wire, message = await self._reach(message, to)
        return await wire.asked.ask(message)

    def given_up(self) -> None:
        """See `AsksDirectly.given_up`."""
        for wire in self._all:
            wire.asked.given_up()

    async def stream(self, message: Message, to: str, /) -> AsyncIterator[Message]:
        """See `Direct.stream`."""
        wire = self._wires.get(to)
        if wire is None:
            wire, message = await self._reach(message, to)
        async with closing(wire.asked.stream(message)) as replies:
            async for reply in replies:
                yield reply

    # Connections.

    async def _reach(self, message: Message, to: str) -> tuple[Wire, Message]:
        """A connection to an address, and the message with the time that is left once it is made.

        Raises:
            NotSent: None can be made, not within half of the message's time, or one is not even tried after others
                failed: the other half is for somebody else.
        """
        began = self._host.monotonic()
        dial = self._dialing.get(to) or self._begin_to_dial(to, began)
        # Others may wait for the same connection: whoever gives up leaves it to them.
        if 0 < (limit := message.timeout * CONNECT_SHARE) < self._limits.connect_seconds:
            try:
                async with asyncio.timeout(limit):
                    await dial.over.wait()
            except TimeoutError:
                raise NotSent(f"{to} could not be reached in {limit:.3g} s, half of the call's time") from None
        else:
            await dial.over.wait()  # It takes no longer than there is time, and a crowd of timers is costly.
        wire = dial.wire
        if isinstance(wire, str):
            raise NotSent(wire)
        if not message.timeout:
            return wire, message
        left = message.timeout - (self._host.monotonic() - began)
        return wire, msgspec.structs.replace(message, timeout=max(TICK_SECONDS, left))

    def _begin_to_dial(self, to: str, now: float) -> _Dial:
        if self._closed or self._serving is None:
            raise NotSent("the transport is closed")
        if len(self._all) >= self._limits.connections_max:
            raise NotSent(f"{self._limits.connections_max} connections are open, which is the limit")
        failures, again = self._failed.get(to, (0, 0.0))
        if now < again:
            raise NotSent(f"{to} could not be reached {failures} times; it is tried again in {again - now:.2f} s")
        dial = self._dialing[to] = _Dial()
        task = self._serving.context.run(self._tasks.start, self._dial(to), name=f"dial {to}")
        task.add_done_callback(partial(self._dialed, to, dial))
        return dial

    def _dialed(self, to: str, dial: _Dial, task: asyncio.Task[Wire | str]) -> None:
        del self._dialing[to]
        if not task.cancelled() and task.exception() is None:
            dial.wire = task.result()
        dial.over.set()

    async def _dial(self, to: str) -> Wire | str:
        """Connect and be greeted; why not, where that fails."""
        wire = self._wire()
        wire.address, wire.ready = to, asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                await self._sockets.dial(to, lambda: wire)
                await wire.ready
        except (OSError, ValueError, Fault) as error:
            wire.abort("it was not greeted in time")
            _ = wire.ready.cancel()
            why = f"no answer within {self._limits.connect_seconds:g} s" if type(error) is TimeoutError else str(error)
            self._failed_to_dial(to)
            return f"{to} cannot be reached: {why}"
        self._failed.pop(to, None)
        return wire

    def _failed_to_dial(self, to: str) -> None:
        failures = self._failed.pop(to, (0, 0.0))[0]
        if len(self._failed) >= FAILED_MAX:
            del self._failed[next(iter(self._failed))]
        limits = self._limits
        pause = min(limits.redial_seconds_max, limits.redial_seconds * 2 ** min(failures, DOUBLED_MAX))
        pause *= 1 - self._host.chance.random() / 2
        self._failed[to] = failures + 1, self._host.monotonic() + pause

    def _wire(self) -> Wire:
        assert self._serving is not None
        return Wire(self, self._host, self._limits, self._serving, Hello(self._instance, self.address))

    def _look(self) -> None:
        now = self._host.monotonic()
        late = now - self._swept > self._limits.beat_seconds
        for wire in list(self._all):
            if late:
                wire.woke(now)
            wire.tick(now)
        self._swept = now
        self._sweep = asyncio.get_running_loop().call_later(self._limits.beat_seconds / 2, self._look)

    # What connections tell; see `Owner`.

    def made(self, wire: Wire, /) -> bool:
        """See `Owner.made`."""
        if self._closed or len(self._all) >= self._limits.connections_max:
            _log.warning("connection with %s refused: %d are open, which is the limit", wire.name, len(self._all))
            return False
        self._all[wire] = None
        return True

    def greeted(self, wire: Wire, hello: Hello, /) -> None:
        """See `Owner.greeted`."""
        if wire.ready is not None:
            self._wires[wire.address] = wire
            if not wire.ready.done():
                wire.ready.set_result(None)
        elif hello.address and self._sockets.trusts(hello.address, wire.peer):
            wire.address = hello.address
            _ = self._wires.setdefault(hello.address, wire)
            _ = self._failed.pop(hello.address, None)

    def leaves(self, wire: Wire, goodbye: Goodbye, /) -> None:
        """See `Owner.leaves`."""
        self._drop(wire, tell=goodbye.leaves)

    def idle(self, wire: Wire, /) -> None:
        """See `Owner.idle`."""
        self._drop(wire, tell=False)
        wire.leave(Goodbye(leaves=False))

    def lost(self, wire: Wire, why: str, /) -> None:
        """See `Owner.lost`."""
        _ = self._all.pop(wire, None)
        if not self._all:
            self._empty.set()
        if wire.ready is not None and not wire.ready.done():
            wire.ready.set_exception(NotSent(why))
        self._drop(wire, tell=True)

    def _drop(self, wire: Wire, *, tell: bool) -> None:
        """Ask nothing more over a connection; say so where the other node has gone."""
        if wire.address and self._wires.get(wire.address) is wire:
            del self._wires[wire.address]
            if tell and not self._closed:
                self._lost(wire.address)


def _nobody(address: str) -> None:
    del address


def _report(error: BaseException) -> None:
    _log.error("a task of the transport failed", exc_info=error)
