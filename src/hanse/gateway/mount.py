"""Applications of other frameworks behind this door: ASGI ones as they are, WSGI ones in threads.

What happens inside is theirs: routes, errors, sessions, who may do what. The door's limits hold all the same.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any, cast

import msgspec

from hanse.gateway import access
from hanse.gateway.asgi import Application, Event, Header, Receive, Request, Scope
from hanse.gateway.body import ANYTHING, read_body
from hanse.gateway.exchange import Exchange
from hanse.gateway.lifespan import lifespan_of
from hanse.gateway.limits import Limits
from hanse.gateway.streams import Streams, first_of
from hanse.kernel.faults import Internal, Misdeclared
from hanse.node.node import Node
from hanse.service.threads import Daemons

SERVICE_RESTART = 1012
"""WebSocket close code: come back, to whoever serves then."""

_log = logging.getLogger("hanse.gateway")
_BOTH = {2: False, 3: True}


class Mount(msgspec.Struct, frozen=True):
    """An application of another framework, and where it is.

    Attributes:
        path: Without a slash at its end.
        app: The application.
        asgi: Whether it speaks ASGI, rather than WSGI.
    """

    path: str
    app: Callable[..., object]
    asgi: bool


def mount_of(path: str, app: object) -> Mount:
    """What is mounted, recognised by how it is called.

    Raises:
        Misdeclared: It is neither ASGI nor WSGI, the path is none, or what WSGI needs is not installed.
    """
    if not path.startswith("/") or {"{", "}", "?", "#"} & set(path):
        raise Misdeclared(f"expected a path such as /old for an application, got {path!r}")
    asgi = speaks_asgi(app)
    if not asgi and find_spec("a2wsgi") is None:
        raise Misdeclared(f"a WSGI application at {path} needs another package: pip install 'hanse[wsgi]'")
    return Mount(path.rstrip("/"), cast("Callable[..., object]", app), asgi)


def speaks_asgi(app: object) -> bool:
    """Whether an application speaks ASGI; else it speaks WSGI.

    Raises:
        Misdeclared: It is neither.

    Example:
        >>> async def asgi(scope, receive, send): ...
        >>> def wsgi(environ, start_response): ...
        >>> speaks_asgi(asgi), speaks_asgi(wsgi)
        (True, False)
    """
    refusal = Misdeclared(f"expected an ASGI or WSGI application, such as one of FastAPI or Flask, got {app!r}")
    if not callable(app) or isinstance(app, type):
        raise refusal
    parameters = inspect.signature(app).parameters.values()
    needed = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    wanted = len([item for item in needed if item.default is item.empty]) or len(needed)
    if wanted not in _BOTH:
        raise refusal
    return _BOTH[wanted]


class Mounts:
    """All mounted applications of a gateway, for one node.

    Args of the constructor:
        mounts: What is mounted.
        taken: Paths of folders: one that is longer than a mount's wins over it.
        node: What the applications find as `hanse` in their state.
        streams: Where WebSockets are counted.
    """

    def __init__(self, mounts: Iterable[Mount], taken: Sequence[str], node: Node, streams: Streams) -> None:
        found: list[tuple[str, Mounted | None]] = [(mount.path, Mounted(mount, node, streams)) for mount in mounts]
        if found:
            found += [(path, None) for path in taken]
        self._by_path = sorted(found, key=lambda item: -len(item[0]))

    def find(self, request: Request) -> Mounted | None:
        """The application that a path belongs to."""
        if not self._by_path:
            return None
        root = cast("str", request.scope.get("root_path", ""))
        path = cast("str", request.scope["path"]).removeprefix(root)
        return next((app for prefix, app in self._by_path if path == prefix or path.startswith(f"{prefix}/")), None)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Have all of them started, in the order of their declaration, and stopped in the other.

        Raises:
            CouldNotStart: One of them cannot.
        """
        async with AsyncExitStack() as stack:
            for _, mounted in self._by_path:
                if mounted is not None:
                    await stack.enter_async_context(mounted.running())
            yield


class Mounted:
    """One mounted application."""

    def __init__(self, mount: Mount, node: Node, streams: Streams) -> None:
        self._mount = mount
        self._streams = streams
        self.template: str = f"{mount.path}/*"
        self._state: dict[str, object] = {"hanse": node}
        self._app = cast("Application", mount.app) if mount.asgi else _from_wsgi(mount.app, streams.limits)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Have it started while this is entered.

        Raises:
            CouldNotStart: It cannot.
        """
        if not self._mount.asgi:
            yield
            return
        async with lifespan_of(self._app, f"the application at {self._mount.path or '/'}", self._state):
            yield

    async def __call__(self, request: Request) -> None:
        """Have it answer.

        Raises:
            Fault: The door's limits do not let it.
        """
        root = cast("str", request.scope.get("root_path", ""))
        mine = {"root_path": root + self._mount.path, "state": {**self._state}}
        scope: Scope = {"http_version": "1.1", **request.scope, **mine}
        if request.scope["type"] == "websocket":
            await self._socket(request, scope)
            return
        exchange = Exchange(request, self._streams)
        await exchange.run(
            self._app, scope, exchange.receive if self._mount.asgi else await self._whole(request, scope)
        )

    async def _whole(self, request: Request, scope: Scope) -> Receive:
        """The body for WSGI, which wants to know its length, and would hold a thread while it comes."""
        body = await read_body(request, self._streams.limits, ANYTHING)
        headers = cast("list[Header]", scope.get("headers", []))
        kept = [pair for pair in headers if pair[0] not in {b"content-length", b"transfer-encoding"}]
        scope["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
        first: Event = {"type": "http.request", "body": body, "more_body": False}
        events = iter((first,))

        async def receive() -> Event:
            return next(events, None) or await request.receive()

        return receive

    async def _socket(self, request: Request, scope: Scope) -> None:
        end = asyncio.Event()
        with self._streams.opened(end.set):
            link = _Link(request, end)
            await first_of(self._talked(scope, link), link.close())

    async def _talked(self, scope: Scope, link: _Link) -> None:
        try:
            await self._app(scope, link.receive, link.send)
        except Exception as error:  # noqa: BLE001 - whatever happens inside
            await link.failed(error)


class _Link:
    """A WebSocket that ends with the node."""

    def __init__(self, request: Request, end: asyncio.Event) -> None:
        self._request = request
        self._end = end
        self._accepted = False
        self._closed = False

    async def receive(self) -> Event:
        return await self._request.receive()

    async def send(self, event: Event) -> None:
        if self._closed:
            return
        if event["type"] == "websocket.accept":
            self._accepted = True
            access.accepted(self._request)
        self._closed = event["type"] == "websocket.close"
        await self._request.send(event)

    async def failed(self, error: Exception) -> None:
        """The application raised; a handshake that it has not answered is left to the door."""
        if not self._accepted:
            raise error
        _log.error("a socket at %s failed", self._request.path[:200], exc_info=error)
        await self.send({"type": "websocket.close", "code": Internal.close_code})

    async def close(self) -> None:
        """Close it when the node drains, and leave the application its time to notice."""
        _ = await self._end.wait()
        if self._accepted and not self._closed:
            self._closed = True
            await self._request.send({"type": "websocket.close", "code": SERVICE_RESTART})
        _ = await asyncio.Event().wait()


def _from_wsgi(app: Callable[..., object], limits: Limits) -> Application:
    from a2wsgi import WSGIMiddleware

    made = WSGIMiddleware(cast("Any", app), workers=limits.threads)
    made.executor = cast("Any", Daemons(limits.threads, "hanse-wsgi"))
    return cast("Application", made)
