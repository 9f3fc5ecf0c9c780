"""WebSocket: several subscriptions, calls and writes over one connection. The shell round `socket_protocol`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import assert_never, cast, final

from hanse.gateway import access
from hanse.gateway.asgi import Request
from hanse.gateway.outlet import Outlet, SendOutlet, WireOutlet
from hanse.gateway.problem import NoRoute, known, problem_of
from hanse.gateway.rates import RateExceeded
from hanse.gateway.socket_asks import Live
from hanse.gateway.socket_protocol import (
    Action,
    Ask,
    Begin,
    Call,
    Close,
    Conversation,
    Id,
    List,
    Listen,
    Pong,
    Refuse,
    Run,
    Stop,
    Subscribe,
)
from hanse.gateway.streams import FAREWELL_SECONDS, Streams, abort
from hanse.gateway.told import Framing
from hanse.gateway.view import View
from hanse.gateway.views import Views
from hanse.gateway.wire import lent
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault, Overloaded, Unavailable

RESTARTING = 1012
"""Close code: the server goes; come back, and resume."""


class Sockets:
    """Answers handshakes."""

    def __init__(self, path: str, live: Live, views: Views, streams: Streams) -> None:
        self._path = path
        self._live = live
        self._views = views
        self._streams = streams

    async def __call__(self, request: Request) -> None:
        """Talk until the client goes, or the node drains.

        Raises:
            NoRoute: The handshake is for another path.
        """
        if request.path != self._path:
            raise NoRoute(request.path[:200])
        socket = Socket(request, self._live, self._views, Conversation(self._streams.limits, self._live.streaming))
        with self._streams.opened(socket.end):
            _ = await request.receive()
            await request.send({"type": "websocket.accept"})
            access.accepted(request)
            await socket.run()


@final
class Subscription:
    """One of a socket's parts in views."""

    __slots__ = ("_id", "_socket", "group", "task", "view")

    def __init__(self, socket: Socket, id: Id, view: View) -> None:
        self._socket = socket
        self._id = id
        self.view: View = view
        self.group: Framing = Framing(socket.framing.kind, b'{"id":%b,' % encode_json(id))
        self.task: asyncio.Task[None] | None = None

    @property
    def outlet(self) -> Outlet:
        """See `Reader.outlet`."""
        return self._socket.outlet

    async def begin(self) -> None:
        """See `Reader.begin`: sockets have begun."""

    def fell(self) -> None:
        """See `Reader.fell`."""
        self._socket.fell()

    def failed(self, fault: Fault) -> None:
        """See `Reader.failed`."""
        self._socket.failed(self._id, fault)

    def stop(self) -> None:
        """Tell no more."""
        if self.task is not None:
            _ = self.task.cancel()
        self.view.leave(self)


@final
class Socket:
    """One conversation. A quiet one costs no task: its request reads, and views write to it.

    Attributes:
        outlet: The way out.
        framing: How messages are written to it.
    """

    __slots__ = (
        "_asks",
        "_closed",
        "_leaving",
        "_live",
        "_request",
        "_talk",
        "_telling",
        "_views",
        "_wait",
        "framing",
        "outlet",
    )

    outlet: Outlet
    framing: Framing

    def __init__(self, request: Request, live: Live, views: Views, talk: Conversation) -> None:
        self._request = request
        self._live = live
        self._views = views
        self._talk = talk
        self._telling: dict[Id, Subscription | asyncio.Task[None]] = {}
        self._asks: set[asyncio.Task[None]] = set()
        self._wait: asyncio.Timeout | None = None
        self._closed = False
        self._leaving = False

    async def run(self) -> None:
        """Talk until it ends."""
        self._open()
        try:
            async with asyncio.timeout(None) as self._wait:
                await self._read()
        except TimeoutError:
            if not self._closed:
                raise
        finally:
            self._closed, self._wait = True, None
            for one in list(self._telling.values()):
                _stop(one)
            for task in self._asks:
                _ = task.cancel()
            self._views.forget(self)
            self.outlet.close()

    def end(self) -> None:
        """The node drains: what was asked before is answered, and then it is closed."""
        self._leaving = True
        _ = self._views.tasks.start(self._leave())

    # As the owner of an outlet.

    def waits(self) -> None:
        """See `Owner.waits`."""
        self._views.watch(self)

    def filled(self) -> None:
        """See `Owner.filled`."""
        for one in self._telling.values():
            if isinstance(one, Subscription):
                one.view.rest(one)

    def emptied(self) -> None:
        """See `Owner.emptied`."""
        for one in list(self._telling.values()):
            if isinstance(one, Subscription):
                one.view.serve(one)

    def stuck(self) -> None:
        """See `Stuck.stuck`."""
        self._closed = True
        self.outlet.cut()
        self._wake()

    def fell(self) -> None:
        """A subscription is further behind than what is kept: the client has to resume."""
        if not self._closed:
            self._closed = True
            _ = self._views.tasks.start(self._close(Overloaded.close_code, "too much was unread; come back and resume"))

    def failed(self, id: Id, error: Exception) -> None:
        """What was told under an id has come to an end."""
        self._ended(id)
        self._refuse(id, error)

    # What the client says.

    async def _read(self) -> None:
        while not self._closed:
            event = await self._request.receive()
            if event["type"] == "websocket.disconnect":
                return
            for action in self._talk.receive(cast("str | None", event.get("text"))):
                await self.outlet.room()
                await self._perform(action)

    async def _perform(self, action: Action) -> None:
        if self._leaving and isinstance(action, (Begin, Run)):
            action = Refuse(action.ask.id, Unavailable("the server is stopping; come back and ask again"))
        action = self._charged(action)
        match action:
            case Begin(ask):
                self._begin(ask)
            case Run(ask):
                task = self._views.tasks.start(self._answer(ask))
                self._asks.add(task)
                task.add_done_callback(self._asks.discard)
            case Pong(id):
                self._say(b'{"id":%b,"result":"pong"}' % encode_json(id))
            case Stop(id):
                self._ended(id)
                self._say(b'{"id":%b,"result":null}' % encode_json(id))
            case Refuse(id, fault):
                self._refuse(id, fault)
            case Close(code, reason):
                await self._close(code, reason)
            case _:
                assert_never(action)

    def _charged(self, action: Action) -> Action:
        """The action, or what refuses it to a caller that asks too often."""
        charge = self._request.charge
        if charge is None or not isinstance(action, (Begin, Run)):
            return action
        try:
            charge(*self._live.place(action.ask))
        except RateExceeded as fault:
            if isinstance(action, Run):
                self._talk.answered()
            else:
                self._talk.ended(action.ask.id)
            return Refuse(action.ask.id, fault)
        return action

    def _begin(self, ask: Subscribe | Listen | Call | List) -> None:
        try:
            if isinstance(ask, (Call, List)):
                self._telling[ask.id] = self._views.tasks.start(self._tell(ask))
                return
            one = Subscription(self, ask.id, self._views.view(self._live.source(ask)))
            self._telling[ask.id] = one
            one.task = self._views.tasks.start(self._admit(one, ask))
        except Fault as fault:
            self.failed(ask.id, fault)

    async def _admit(self, one: Subscription, ask: Subscribe | Listen) -> None:
        try:
            await one.view.admit(one, ask.after, snapshot=isinstance(ask, Subscribe) and ask.snapshot)
        except Exception as error:  # noqa: BLE001 - told to whoever subscribed
            one.task = None
            self.failed(ask.id, error)
        else:
            one.task = None

    async def _tell(self, ask: Call | List) -> None:
        head = b'{"id":%b,' % encode_json(ask.id)
        try:
            with self._live.keyed(ask):
                async with aclosing(self._live.items(ask)) as items:
                    async for item in items:
                        await self.outlet.room()
                        self._say(b'%b"item":%b}' % (head, item))
            self._say(head + b'"result":null}')
        except Exception as error:  # noqa: BLE001 - told to whoever called
            self._refuse(ask.id, error)
        finally:
            self._talk.ended(ask.id)
            _ = self._telling.pop(ask.id, None)

    async def _answer(self, ask: Ask) -> None:
        try:
            with self._live.keyed(ask):
                result = await self._live.answer(ask)
            self._say(b'{"id":%b,"result":%b}' % (encode_json(ask.id), result))
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            self._refuse(ask.id, error)
        finally:
            self._talk.answered()

    # What it is told.

    def _open(self) -> None:
        wire = lent(self._request)
        self.framing = Framing("lines" if wire is None else "frame")
        if wire is None:
            self.outlet = SendOutlet(self, self._send, lambda: abort(self._request), self._views.tasks)
        else:
            self.outlet = WireOutlet(self, wire)

    async def _send(self, lines: bytes) -> None:
        for line in lines.splitlines():
            await self._request.send({"type": "websocket.send", "text": line.decode()})

    def _say(self, message: bytes) -> None:
        if not self._closed:
            self.outlet.write(self.framing.around(message))

    def _refuse(self, id: Id | None, error: Exception) -> None:
        fault = known(error, self._views.host)
        problem = problem_of(fault, self._request.trace_id, listed=type(fault) in self._live.faults)
        self._say(b'{"id":%b,"error":%b}' % (encode_json(id), encode_json(problem)))

    def _ended(self, id: Id) -> None:
        self._talk.ended(id)
        if (one := self._telling.pop(id, None)) is not None:
            _stop(one)

    # Its end.

    async def _leave(self) -> None:
        while self._asks and not self._closed:
            await asyncio.wait(self._asks)
        if not self._closed:
            await self._close(RESTARTING, "the server is stopping; come back and resume")

    async def _close(self, code: int, reason: str) -> None:
        self._closed = True
        for one in list(self._telling.values()):
            _stop(one)  # nothing may be told after a close
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.outlet.settled()
                with suppress(OSError):
                    await self._request.send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            self.outlet.cut()
        self._wake()

    def _wake(self) -> None:
        if self._wait is not None:
            self._wait.reschedule(0.0)
            self._wait = None


def _stop(one: Subscription | asyncio.Task[None]) -> None:
    if isinstance(one, Subscription):
        one.stop()
    else:
        _ = one.cancel()
