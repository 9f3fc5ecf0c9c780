"""An app as one ASGI application, with a life of its own: for other servers, and inside other frameworks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

from hanse.contract.model import Resource
from hanse.gateway.asgi import Application, Receive, Request, Scope, Send, answer
from hanse.gateway.lifespan import answer_lifespan, lifespan_of
from hanse.gateway.problem import problem_response
from hanse.kernel.faults import Fault, Misconfigured, Misdeclared
from hanse.kernel.settings import Settings
from hanse.kernel.settings_files import load
from hanse.node.app import App, Door
from hanse.node.node import Node
from hanse.service.collection import Collection

T = TypeVar("T")
R = TypeVar("R", bound=Resource)

_log = logging.getLogger("hanse.gateway")

_HOW = (
    "whoever hosts it has to: a server that knows lifespans does, FastAPI and Starlette with "
    "`lifespan=door.lifespan`, anything else with `async with door.running():`"
)


class NotStarted(Fault, status=503, detail="this app was not started; {how}"):
    """A request came to an app inside another framework, which nobody had started."""

    how: str


class Embedded:
    """What `hanse.asgi` makes: an ASGI application whose node starts and stops with it.

    A server that knows lifespans (uvicorn, granian, hypercorn) starts and stops it. Another framework, of which it is a
    part, does so by `lifespan` or `running`. A request that comes before is refused with the way out.
    """

    def __init__(self, app: App, settings: Settings | None = None) -> None:
        """Get ready; see `hanse.asgi`."""
        if app.gateway is None:
            raise Misdeclared(
                f"the app {app.name!r} has no gateway, so there is nothing to serve; say what others may see: "
                f"App({app.name!r}, ..., gateway=Gateway().rpc(...))"
            )
        self._app = app
        self._door: Door = app.gateway
        self._settings = settings
        self._running: tuple[Node, Application] | None = None
        self._claimed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send, self.running())
        elif self._running is None:
            fault = NotStarted(_HOW)
            _log.error("%s", fault)
            await answer(Request(scope, receive, send), problem_response(fault))
        else:
            await self._running[1](scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, host: object = None, /) -> AsyncGenerator[None]:
        """Run while another framework runs: `FastAPI(lifespan=door.lifespan)`.

        Args:
            host: Its application, which nothing is asked of.

        Raises:
            CouldNotStart, Misconfigured: See `running`.
        """
        del host
        async with self.running():
            yield

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Node]:
        """Run while this is entered, on this event loop; its end drains streams and finishes work within the grace.

        Raises:
            Misconfigured: A setting cannot be used, or it runs already.
            CouldNotStart: A store refuses, or a part of it did not start.
        """
        if self._claimed:
            raise Misconfigured(f"the app {self._app.name!r} runs already; start it once, by lifespan or by running()")
        self._claimed = True
        try:
            settings = self._settings or load(Path.cwd(), os.environ)[0]
            node = Node(self._app, settings)
            application = cast("Application", self._door.asgi(node))
            async with _started(node, self._door), lifespan_of(application, "the gateway", {}):
                self._running = node, application
                yield node
        finally:
            self._running = None
            self._claimed = False

    async def drain(self) -> None:
        """End all streams with a hint to resume: for a host that knows that it is about to stop, and waits for them.

        Raises:
            NotStarted: Nothing runs.
        """
        await self._door.drain(self.node)

    @property
    def node(self) -> Node:
        """The node that runs.

        Raises:
            NotStarted: None does.
        """
        if self._running is None:
            raise NotStarted(_HOW)
        return self._running[0]

    def client(self, contract: Callable[..., T]) -> T:
        """A typed client of a contract, for the code around it; see `Node.client`."""
        return self.node.client(contract)

    def collection(self, kind: type[R]) -> Collection[R]:
        """The collection of a resource, for the code around it; see `Node.collection`."""
        return self.node.collection(kind)


@asynccontextmanager
async def _started(node: Node, door: Door) -> AsyncGenerator[None]:
    grace, now = node.settings.node.grace, node.host.monotonic
    await node.start()
    try:
        yield
    finally:
        node.drain()
        end = now() + grace
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await door.drain(node)
        await node.stop(max(0.0, end - now()))


def asgi(app: App, settings: Settings | None = None) -> Embedded:
    """An app as an ASGI application, for any server of ASGI and inside any framework that mounts one.

    Args:
        app: The app; its gateway says what is seen of it.
        settings: By default those of the current folder and the environment, read when it starts.

    Raises:
        Misdeclared: The app has no gateway.

    Example:
        >>> from hanse import App, Gateway, Service, rpc
        >>> class Greeter(Service):
        ...     @rpc
        ...     async def hello(self, name: str) -> str:
        ...         return f"Hello, {name}!"
        >>> door = asgi(App("hello", Greeter, gateway=Gateway().rpc(Greeter)))
        >>> async def main() -> str:
        ...     async with door.running():
        ...         return await door.client(Greeter).hello("Ada")
        >>> asyncio.run(main())
        'Hello, Ada!'
    """
    return Embedded(app, settings)
