"""Serves an app over HTTP in this process, and stops it in order.

Stopping, at the first SIGTERM or SIGINT: not ready (503), the drain delay, streams ended with a hint to resume, no new
connections, work in flight finished within the grace, the node stopped, 0. A second signal forces: 130 or 143.
uvicorn would wait for ever for an SSE client, so streams are ended before it is told to stop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext, suppress
from fcntl import ioctl
from importlib.util import find_spec
from termios import FIONREAD
from typing import Literal, cast

from uvicorn import Config, Server

from hanse.gateway.asgi import BODY, WHOLE, Application, Receive, Scope, Send
from hanse.gateway.callers import Callers
from hanse.gateway.forwarded import Proxies
from hanse.gateway.front_door import FrontDoor
from hanse.gateway.life import Work, tell_draining, tell_started, tell_stopped
from hanse.gateway.lifespan import lifespan_of
from hanse.gateway.limits import CONNECTIONS_MAX, HEADER_BYTES_MAX, KEEP_ALIVE_SECONDS, Limits
from hanse.gateway.listen import HANDSHAKE_SECONDS, admit_no_more, bound, url_of
from hanse.gateway.side_door import SideDoor
from hanse.gateway.stops import Stops
from hanse.gateway.streams import ABORT
from hanse.gateway.wire import WIRE, Wire, Wired
from hanse.kernel.context import FOREVER
from hanse.kernel.settings import Settings
from hanse.node.app import App, Door, has_gateway
from hanse.node.node import Node

BACKLOG = 2048
"""Connections that wait to be accepted."""

SWEEP_SECONDS = 1
"""Between two looks for clients that are too slow."""

SWEEP_SLICE = 250
"""Connections that are looked at in one turn of the loop: about a millisecond's worth."""

FIRST_WORD_SECONDS = 0.02
"""How long a connection that was accepted just before a stop has to say what it wants."""

FIRST_WORDS_MAX = 50
"""How often we listen once more before a stop, where there is still something to be read."""


async def serve(
    app: App,
    settings: Settings,
    *,
    announce: Callable[[str], None],
    listener: socket.socket | None = None,
    around: Callable[[Application], Application] = lambda app: app,
    stops: Stops | None = None,
) -> int:
    """Serve an app until a signal stops it; the process's exit code.

    Args:
        app: What is served; without a gateway, all of it. A node that hosts other services than the gateway answers
            those alone who ask how it is.
        settings: Where to listen, and how to stop.
        announce: Told the URL when everything is ready.
        listener: Where to listen, rather than at the address of the settings: bound by somebody who keeps it.
        around: What stands around the application, such as while it is developed.
        stops: What says when to stop; by default the signals of this process.

    Raises:
        CouldNotStart: The address is taken, or a store refuses.
        Misdeclared, Misconfigured: The app or a setting cannot be.
    """
    door = _door_of(app) if has_gateway(settings.node.services) else SideDoor()
    address = settings.gateway.host, settings.gateway.port
    with nullcontext(listener) if listener else bound(*address) as bound_listener, stops or Stops() as asked:
        serving = _Serving(app, settings, door, bound_listener, around, shared=listener is not None)
        return await asked.unless_forced(serving.run(asked, announce))


def _door_of(app: App) -> Door:
    if app.gateway is not None:
        return app.gateway
    from hanse.gateway.gateway import Gateway

    return Gateway.everything(app.services)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop to serve on: uvloop's where it is installed, else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class _Serving:
    """One run of a server, from its start to its stop."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        door: Door,
        listener: socket.socket,
        around: Callable[[Application], Application],
        *,
        shared: bool,
    ) -> None:
        self._door = door
        self._settings = settings
        self._listener = listener
        self._node = Node(app, settings)
        own: object = getattr(door, "limits", None)
        limits = own if isinstance(own, Limits) else Limits()
        self._application = cast("Application", door.asgi(self._node))
        proxies = Proxies(settings.gateway.trusted_proxies)
        self._server = _Server(around(self._application), limits, settings.node.grace, proxies.trusts, shared=shared)

    async def run(self, stops: Stops, announce: Callable[[str], None]) -> None:
        """Start, serve, and stop when asked."""
        grace, now = self._settings.node.grace, self._node.host.monotonic
        began = now()
        await self._node.start()
        end = asked = FOREVER
        try:
            async with lifespan_of(self._application, "the gateway", {}), asyncio.TaskGroup() as group:
                serving = group.create_task(self._server.serve(sockets=[self._listener]))
                _ = await self._server.listening.wait()
                url = url_of(self._listener)
                announce(url)
                tell_started(self._node, url, now() - began)
                _ = await stops.asked.wait()
                asked = now()
                tell_draining(self._node, stops.why, self._work())
                self._node.drain()
                await asyncio.sleep(self._settings.node.drain_delay)
                end = now() + grace
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._door.drain()
                self._server.config.timeout_graceful_shutdown = max(1, math.ceil(end - now()))
                self._server.should_exit = True
                await serving
        finally:
            cut = max(self._server.cut, len(self._server.server_state.tasks))
            await self._node.stop(0.0 if stops.forced.is_set() else max(0.0, min(grace, end - now())))
            tell_stopped(stops.why or "it failed", max(0.0, now() - asked), cut)

    def _work(self) -> Work:
        front = self._application
        return front.work if isinstance(front, FrontDoor) else Work(operations=self._node.running)


class _Server(Server):
    """uvicorn on our terms: it leaves signals alone, and lends streams the power to cut a connection."""

    def __init__(
        self,
        app: Application,
        limits: Limits,
        grace: float,
        trusted: Callable[[str], bool] = lambda _: False,
        *,
        shared: bool = False,
    ) -> None:
        """Serve an application.

        Args:
            app: What answers.
            limits: What it takes at most.
            grace: Seconds that requests have to finish at a stop.
            trusted: Whether an address is that of a proxy of ours.
            shared: Whether somebody else listens on the same sockets, now or after us.
        """
        config = _config(self._lending(app), limits, grace)
        config.callers = self.callers = Callers(limits, trusted)
        super().__init__(config)
        self._shared = shared
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._limits = limits
        self.config.callback_notify = self._sweep
        self.listening: asyncio.Event = asyncio.Event()
        self.cut: int = 0
        """Requests and streams that a stop has cut off."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        """See `hanse.gateway.stops`."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more; who is connected already is heard, rather than cut off in the first word."""
        loop, listeners = asyncio.get_running_loop(), [one for one in sockets or () if one.fileno() >= 0]
        if not self._shared:
            for listener in listeners:
                admit_no_more(listener)
            await asyncio.sleep(HANDSHAKE_SECONDS)
        for listener in listeners:
            _ = loop.remove_reader(listener)
        # asyncio gives those whom it has just accepted their connection in its next turn, if the server is open then.
        await asyncio.sleep(0)
        late = [one for listener in listeners for one in waiting_at(listener)]
        for listener in () if self._shared else listeners:
            # uvloop closes it later than we say: whoever came in between would be accepted by nobody, and reset.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        for server in self.servers:
            server.close()
        for one in late:
            _ = await loop.connect_accepted_socket(self._connection, one)
        for _ in range(FIRST_WORDS_MAX):
            await asyncio.sleep(FIRST_WORD_SECONDS)
            if not any(map(_has_more_to_say, list(self.server_state.connections))):
                break
        await super().shutdown(sockets)
        self.cut = len(self.server_state.tasks)

    def _connection(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _lending(self, app: Application) -> Application:
        whole = {WIRE: lend, **whole_extensions()}

        def lent(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            own: dict[str, object] | None = scope.get("extensions")
            scope["extensions"] = extensions = {**own, **whole} if own else whole.copy()
            transport = cast("asyncio.Transport | None", getattr(getattr(send, "__self__", None), "transport", None))
            if transport is not None:
                # Of this connection at once: to find it among all would take as long for each of many that are stuck.
                extensions[ABORT] = transport.abort
            return app(scope, receive, send)

        return lent

    async def _sweep(self) -> None:
        """Look at all connections, a slice in each turn of the loop: all at once would be a stall."""
        self.callers.sweep()
        now, connections = asyncio.get_running_loop().time(), self.server_state.connections
        for count, connection in enumerate(list(connections), 1):
            keep_alive = cast("Callable[[float, Limits], None] | None", getattr(connection, "keep_alive", None))
            if keep_alive is not None and connection in connections:
                keep_alive(now, self._limits)
            if count % SWEEP_SLICE == 0:
                await asyncio.sleep(0)


def waiting_at(listener: socket.socket) -> Iterator[socket.socket]:
    """Connections that the system has taken for us, and that nobody has accepted yet."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # there is none, or it listens no more
            return
        connection.setblocking(False)  # noqa: FBT003 - it takes its argument by place only
        yield connection


def _has_more_to_say(connection: object) -> bool:
    """Whether there is something to be read of a connection that would be closed now, as nothing is in work on it."""
    cycle = getattr(connection, "cycle", ...)
    if cycle is ... or not (cycle is None or cast("bool", getattr(cycle, "response_complete", True))):
        return False
    transport = cast("asyncio.Transport", getattr(connection, "transport"))  # noqa: B009 - h11's and httptools' have it
    end = cast("socket.socket | None", transport.get_extra_info("socket"))
    if end is None or transport.is_closing():
        return False
    return any(ioctl(end.fileno(), FIONREAD, bytes(4)))


def lend(send: object) -> Wire | None:
    """The connection of an answer that has begun, by the function of uvicorn's that sends it; None where it is none."""
    sender = getattr(send, "__self__", None)
    transport = cast("asyncio.Transport | None", getattr(sender, "transport", None))
    connection = None if transport is None else transport.get_protocol()
    if transport is None or not isinstance(connection, Wired):
        return None
    connection.wire = Wire(transport, chunked=_is_chunked(sender))
    return connection.wire


def _is_chunked(sender: object) -> bool:
    """Whether a body without a length goes out in chunks: httptools' cycle says so, h11's connection knows of it."""
    client = cast("bytes | None", getattr(getattr(sender, "conn", None), "their_http_version", None))
    return getattr(sender, "chunked_encoding", False) is True or client == b"1.1"


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn tells anything: of a handshake that we refused it says that it was forgotten."""
    return not record.getMessage().startswith("ASGI callable returned without completing handshake")


class _Config(Config):
    """uvicorn's, and what our connections ask besides."""

    callers: Callers


def _config(app: Application, limits: Limits, grace: float) -> _Config:
    return _Config(
        cast("Callable[..., object]", app),
        http=connection_class(),
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        reset_contextvars=True,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(grace),
        timeout_notify=SWEEP_SECONDS,
        ws=web_socket_class(),
        ws_max_size=limits.message_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )


def whole_extensions() -> dict[str, object]:
    """What is lent to every request: whole bodies and answers, where connections speak HTTP with httptools."""
    try:
        from hanse.gateway.whole import take_whole, write_whole
    except ImportError:
        return {}
    return {WHOLE: write_whole, BODY: take_whole}


def web_socket_class() -> type[asyncio.Protocol] | Literal["auto"]:
    """How connections speak WebSocket: its library is a tenth of our start, and waits for the first who does."""
    if find_spec("websockets") is None:
        return "auto"

    def protocol(**given: object) -> asyncio.Protocol:
        from hanse.gateway.paced_websocket import PacedWebSocket

        make = cast("Callable[..., asyncio.Protocol]", PacedWebSocket)
        return make(**given)

    return cast("type[asyncio.Protocol]", protocol)


def connection_class() -> type[asyncio.Protocol]:
    """How connections speak HTTP: with httptools where it is installed, else with h11."""
    try:
        from hanse.gateway.paced_httptools import PacedHttpTools
    except ImportError:
        from hanse.gateway.paced_h11 import PacedH11

        return PacedH11
    return PacedHttpTools
