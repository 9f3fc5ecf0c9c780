"""The door itself: an ASGI application that finds the handler of a path, runs it, and answers every error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import msgspec

from hanse.gateway import access
from hanse.gateway.asgi import Header, Receive, Request, Response, Scope, Send, answer
from hanse.gateway.coding import coded, may_be_coded
from hanse.gateway.context import READING, headers_of
from hanse.gateway.figures import Requests, noting_status
from hanse.gateway.life import Work
from hanse.gateway.lifespan import answer_lifespan
from hanse.gateway.manners import Manners
from hanse.gateway.mount import Mounted, Mounts
from hanse.gateway.problem import MethodNotAllowed, NoRoute, known, problem_response
from hanse.gateway.room import Room
from hanse.gateway.routes import Handler, Route, Routes
from hanse.gateway.streams import Streams
from hanse.gateway.strict import check_request
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Cancelled, Malformed, Unavailable
from hanse.kernel.message import ANONYMOUS, Headers, Identity
from hanse.kernel.telemetry import Side, Tracer
from hanse.node.node import Node

Identify = Callable[[Mapping[str, str]], Awaitable[Identity]]
"""Says who is asking, from the headers by name in lower case; raises `Unauthenticated` where they prove nothing."""

Check = Callable[[Request], Awaitable[Response]]

CHECKED = "GET, HEAD, OPTIONS"
"""Methods of health, figures and the page."""

POSTED = "POST, OPTIONS"
"""Methods of what operators ask with a body; such a check says `posted`."""

SERVING = frozenset({"ready", "draining"})


class Inside(msgspec.Struct, frozen=True):
    """What is behind the door.

    Attributes:
        room: How many may be in work.
        routes: Handlers by path.
        checks: Health and figures by path: answered in every state of the node.
        socket: Answers a WebSocket handshake.
        mounts: Applications of other frameworks.
        manners: What every request meets first.
        identify: Says who is asking; None where everybody is anonymous.
        fallback: Answers what no route does; None for 404.
        requests: Where requests are counted that were answered.
        signed: Paths at which who posts is known by a signature, so that nobody is asked who they are.
    """

    room: Room
    routes: Routes
    checks: Mapping[str, Check]
    socket: Callable[[Request], Awaitable[None]]
    mounts: Mounts
    manners: Manners
    identify: Identify | None = None
    fallback: Handler | None = None
    requests: Requests = msgspec.field(default_factory=Requests)
    signed: frozenset[str] = frozenset()


class FrontDoor:
    """The ASGI application of a gateway."""

    def __init__(self, node: Node, streams: Streams, inside: Inside) -> None:
        self._node = node
        self._streams = streams
        self._inside = inside
        self._requests = inside.requests
        self._room = inside.room
        self._now = node.host.monotonic
        # Nobody is asked who they are, nor charged for it: most gateways at first, and those behind another door.
        self._anybody: bool = inside.identify is None and not inside.manners.charges
        self._logs: bool = node.settings.log.access == "on"
        self.tracer: Tracer = Tracer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send, self._inside.mounts.running())
            return
        request = Request(scope, receive, send)
        self._inside.manners.greet(request)
        check = self._inside.checks.get(request.path)
        if check is not None and scope["type"] == "http":
            await answer(request, await coded(request, await _checked(check, request), self._streams.limits))
            return
        request.room = self._room
        self._room.active += 1
        begun = self._now()
        try:
            response = await self._admitted(request)
        except Cancelled:
            response = None  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - the last resort: whatever happens inside, the client is answered
            fault = known(error, self._node.host)
            response = problem_response(fault, request.trace_id, listed=type(fault) in self._streams.faults)
        finally:
            self._room.active -= 1
        if response is not None:
            if may_be_coded(response, self._streams.limits):
                response = await coded(request, response, self._streams.limits)
            await answer(request, response, self._more_headers(request))
        status = request.status if response is None else response.status
        seconds = self._now() - begun
        if status:
            self._requests.add(request.method, request.template, status, seconds)
        if self._logs:
            self._log(request, response, seconds)

    @property
    def work(self) -> Work:
        """What it is in the middle of."""
        return Work(self._room.working, self._room.reading, len(self._streams), self._node.running)

    def _log(self, request: Request, response: Response | None, seconds: float) -> None:
        if not request.template:  # refused before it was looked for
            with suppress(Malformed):
                found = self._inside.routes.at(request.path)
                request.template = "" if found is None else found[0].template
        if response is None:
            access.tell(request, seconds)
        else:
            size = 0 if request.method == "HEAD" else len(response.body)
            access.tell(request, seconds, status=response.status, size=size)

    async def _admitted(self, request: Request) -> Response | None:
        headers = headers_of(request, self._node.host)
        check_request(request, self._streams.limits)
        manners = self._inside.manners
        manners.check_host(request)
        if release := manners.release(request):
            headers = msgspec.structs.replace(headers, release=release)
        if request.method == "OPTIONS":
            asked = manners.preflight(request, lambda: self._allowed(request))
            if asked is not None:
                return asked
        if self._node.state not in SERVING:
            raise Unavailable(f"this node is {self._node.state}; come again in a moment")
        self._room.check()
        mounted = self._mounted(request)
        if mounted is not None:
            manners.charge(request, ANONYMOUS)
            request.send = noting_status(request, request.send)
            return await self._run(mounted, request, headers)
        socket = request.scope["type"] == "websocket"
        if socket or request.method not in READING:
            manners.check_origin(request)
        if not self._anybody:
            identity = await self._identified(request)
            if identity is not ANONYMOUS:
                headers = msgspec.structs.replace(headers, identity=identity)
        if not socket:
            return await self._routed(request, headers)
        with self._node.context(headers):
            await self._inside.socket(request)
        return None

    async def _identified(self, request: Request) -> Identity:
        """Who asks; counted as such, or by address where they prove nothing."""
        identity, charge = ANONYMOUS, self._inside.manners.charge
        signed = request.method == "POST" and request.path in self._inside.signed
        if self._inside.identify is not None and not signed:
            try:
                identity = await self._inside.identify(request.headers())
            except Exception:
                charge(request, ANONYMOUS)
                raise
        charge(request, identity)
        return identity

    def _allowed(self, request: Request) -> str:
        found = self._inside.routes.at(request.path)
        return "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" if found is None else found[0].allowed

    def _mounted(self, request: Request) -> Mounted | None:
        """The application that answers, where no route does: who may do what in it is its own affair."""
        found = self._inside.mounts.find(request)
        if found is None or self._inside.routes.at(request.path) is not None:
            return None
        request.template = found.template
        return found

    async def _routed(self, request: Request, headers: Headers) -> Response | None:
        found = self._inside.routes.at(request.path)
        if found is None:
            return await self._fall_back(request)
        route, request.parameters = found
        request.template = route.template
        handler = _handler(route, request.method)
        if handler is None:
            return _options(route)
        return await self._run(handler, request, headers)

    async def _run(self, handler: Handler, request: Request, headers: Headers) -> Response | None:
        """Have a request handled in its context, and in a span where somebody records."""
        if not self.tracer.active():
            # Written out, not `node.context`: this is on the way of every request.
            token = ambient.set(Context(self._node.host, headers))
            try:
                return await handler(request)
            finally:
                ambient.reset(token)
        name = f"{request.method} {request.template}"
        attributes = {"http.request.method": request.method, "http.route": request.template, "url.path": request.path}
        with self.tracer.span(name, Side.SERVER, headers, attributes) as span, self._node.context(span.headers):
            return await handler(request)

    async def _fall_back(self, request: Request) -> Response | None:
        if self._inside.fallback is None:
            raise NoRoute(request.path[:200])
        request.send = noting_status(request, request.send)
        return await self._inside.fallback(request)

    def _more_headers(self, request: Request) -> tuple[Header, ...]:
        named = ((b"x-request-id", request.id.encode()),) if request.id else ()
        # A client that kept its connection open would run into the end of this process.
        return (*named, (b"connection", b"close")) if self._node.state == "draining" else named


def _handler(route: Route, method: str) -> Handler | None:
    """What answers the method; None for OPTIONS, which each route answers alike."""
    handler = route.methods.get("GET" if method == "HEAD" else method)
    if handler is None and method != "OPTIONS":
        raise MethodNotAllowed(method, route.allowed)
    return handler


async def _checked(check: Check, request: Request) -> Response:
    posted = getattr(check, "posted", False)
    if request.method in ({"POST"} if posted else {"GET", "HEAD"}):
        return await check(request)
    allowed = POSTED if posted else CHECKED
    if request.method == "OPTIONS":
        return Response(204, b"", ((b"allow", allowed.encode()),), "")
    return problem_response(MethodNotAllowed(request.method[:20], allowed))


def _options(route: Route) -> Response:
    return Response(204, b"", ((b"allow", route.allowed.encode()), *route.offers), "")
