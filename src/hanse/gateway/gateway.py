"""`Gateway`: what the outside reaches of an app. Private unless exposed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self, cast
from weakref import ref

import msgspec

from hanse.contract.declare import is_contract
from hanse.contract.derive import Description, Operation, describe
from hanse.contract.guard import Guard, authenticated
from hanse.contract.model import Event, Resource, topic_of
from hanse.contract.openapi import OperationPath
from hanse.contract.openapi_rest import ResourcePath
from hanse.contract.openapi_topics import TopicPath
from hanse.gateway.asgi import Application, Request
from hanse.gateway.cors import Cors
from hanse.gateway.declared import Declared, default_path, list_methods, row_methods
from hanse.gateway.expansion import check_links
from hanse.gateway.files import Folder
from hanse.gateway.front_door import Identify
from hanse.gateway.limits import Limits
from hanse.gateway.mount import Mount, mount_of
from hanse.gateway.own_route import OwnRoute, RouteOptions, own_route_of
from hanse.gateway.rates import Meters, Rate
from hanse.gateway.routes import Routes, parts_of
from hanse.gateway.streams import Streams
from hanse.gateway.verbs import Verbs
from hanse.gateway.webhooks.declare import WebhookOptions, webhooks_of
from hanse.gateway.webhooks.model import WebhookSecret
from hanse.gateway.webhooks.receive import Received
from hanse.gateway.webhooks.sender import Sender
from hanse.gateway.webhooks.service import Webhooks
from hanse.gateway.webhooks.verify import Scheme
from hanse.kernel.faults import Misdeclared
from hanse.kernel.message import Identity
from hanse.node.node import Node
from hanse.service.service import Service, descriptions_of, events_in, fields_of, may_emit

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class Gateway(Verbs):
    """Exposes resources, contracts, routes and files over HTTP, SSE and WebSocket.

    Example:
        >>> class Order(Resource):
        ...     sku: str
        >>> gateway = Gateway().resources(Order, path="/orders", live=True)
    """

    def __init__(  # noqa: PLR0913 - each is an option by name, with a default that is right for most
        self,
        prefix: str = "",
        *,
        identify: Identify | None = None,
        body_max: int | None = None,
        limits: Limits | None = None,
        cors: Cors | None = None,
        rates: Rate | Sequence[Rate] = (),
        docs: bool = True,
    ) -> None:
        """Expose nothing yet.

        Args:
            prefix: Stands before every path but those of health, files and mounted applications, such as `/api`.
            identify: Says who is asking, from the headers by name in lower case: an `async` function that gives an
                `Identity`, or raises `Unauthenticated`. Without it everybody is anonymous.
            body_max: Largest request body in bytes; by default that of the settings.
            limits: What it takes at most, where that is not the usual.
            cors: Pages of other origins that may use it; none without it.
            rates: How often each caller may ask; without one as often as they like.
            docs: Whether the page `/docs` shows what is exposed, and calls it.

        Raises:
            Misdeclared: The prefix is no path, or two rates have one name.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise Misdeclared(f"expected a prefix such as /api, got {prefix!r}")
        self.prefix: str = prefix
        self._identify = identify
        self._docs = docs
        self._body_max = body_max
        self._cors = cors
        self._rates = (rates,) if isinstance(rates, Rate) else tuple(rates)
        _ = Meters(self._rates, 1)
        self.limits: Limits = limits or Limits()
        self._resources: dict[type[Resource], ResourcePath] = {}
        self._operations: list[OperationPath] = []
        self._descriptions: dict[str, Description] = {}
        self._own: dict[str, OwnRoute] = {}
        self._folders: list[Folder] = []
        self._mounts: list[Mount] = []
        self._topics: dict[type[Event], TopicPath] = {}
        # A gateway outlives the nodes that it serves: it must not keep them.
        self._open: list[tuple[ref[Node], ref[Streams]]] = []
        self._declared = Routes()
        self._webhooks: type[Webhooks] | None = None
        self._composed = False
        self._received: list[Received] = []

    @classmethod
    def everything(cls, services: Iterable[type[Service]]) -> Gateway:
        """A gateway that exposes all operations, resources and events, for a module that declares none."""
        gateway, services = cls(), list(services)
        for service in services:
            _ = gateway.rpc(service)
            for kind in dict.fromkeys(field.resource for field in fields_of(service) if field.resource is not None):
                if kind not in gateway._resources and kind is not WebhookSecret:
                    _ = gateway.resources(kind)
        for event in dict.fromkeys(event for service in services for event in events_in(service)):
            if any(may_emit(service, event) for service in services):
                _ = gateway.events(event, emit=True)
        return gateway

    def resources(
        self,
        kind: type[Resource],
        path: str | None = None,
        *,
        live: bool = True,
        write: bool = True,
        require_match: bool = False,
        strict: bool = False,
    ) -> Self:
        """Expose the rows of a resource as REST.

        Args:
            kind: The resource.
            path: Path of the collection; by default its name.
            live: Whether the outside may follow its changes, over SSE and WebSocket.
            write: Whether the outside may write.
            require_match: Whether a row that is there is written only by who names the revision that it read (428).
            strict: Whether a write that names fields which do not exist is refused, unless the client prefers
                `handling=lenient`.

        Raises:
            Misdeclared: It is no resource, is exposed already, or its path is taken.
        """
        if not _is_class(kind, Resource):
            raise Misdeclared(f"expected a Resource class such as `class Order(Resource)`, got {kind!r}")
        if kind in self._resources:
            raise Misdeclared(f"{kind.__name__} is exposed already, at {self._resources[kind].path}")
        at = self.prefix + (default_path(kind) if path is None else path)
        exposed = ResourcePath(kind, at, live, write, require_match, strict)
        check_links(kind)
        if exposed.path.endswith("/"):
            raise Misdeclared(f"expected a path such as /orders for {kind.__name__}, without a slash at its end")
        self._reserve(exposed.path, list_methods(exposed))
        self._reserve(f"{exposed.path}/{{id}}", row_methods(exposed))
        self._resources[kind] = exposed
        return self

    def events(self, kind: type[Event], path: str | None = None, *, live: bool = True, emit: bool = False) -> Self:
        """Expose the events of a kind, as a live feed and, where that is wanted, for emitting them from outside.

        Args:
            kind: The event.
            path: Where its feed is; by default `/events/` and its topic.
            live: Whether the outside may follow it, over SSE and WebSocket.
            emit: Whether the outside may emit it: POST of its JSON, or of a CloudEvent.

        Raises:
            Misdeclared: It is no event, is exposed already, or its path is taken.

        Example:
            >>> class OrderPlaced(Event):
            ...     order_id: str
            >>> gateway = Gateway().events(OrderPlaced)
        """
        if not _is_class(kind, Event):
            raise Misdeclared(f"expected an Event class such as `class OrderPlaced(Event)`, got {kind!r}")
        if kind in self._topics:
            raise Misdeclared(f"{kind.__name__} is exposed already, at {self._topics[kind].path}")
        if not (live or emit):
            raise Misdeclared(f"expected live or emit for {kind.__name__}; else nothing of it is exposed")
        exposed = TopicPath(kind, self.prefix + (f"/events/{topic_of(kind)}" if path is None else path), live, emit)
        self._reserve(exposed.path, [*(("GET",) if live else ()), *(("POST",) if emit else ())])
        self._topics[kind] = exposed
        return self

    def webhooks(
        self,
        *kinds: type[Event],
        path: str = "/webhooks",
        allow: Guard | None = None,
        manage: Guard | None = None,
        audience: Callable[[Event], Identity] | None = None,
        sender: Sender | None = None,
    ) -> Self:
        """Have programs outside hear of events at URLs of their own, by the Standard Webhooks.

        It brings a service, `webhooks`, into the app: whoever may subscribes at `path`, and the service signs, sends,
        tries again for days, and remembers. Declare it before the app is made. It needs the extra `webhooks`.

        Args:
            kinds: The events that may be subscribed to.
            path: Where subscriptions are.
            allow: Who may have some of their own; by default all who are known.
            manage: Who sees and changes everybody's, such as `scope("webhooks:manage")`; by default nobody.
            audience: Whose subscriptions hear of an event: `lambda event: Identity(tenant=event.shop)`. By default all
                who subscribed to its kind: say it where events of one customer are not for another.
            sender: What sends them, for tests and simulated worlds; by default what sends over HTTP.

        Raises:
            Misdeclared: They are no events, the path is taken, or an app has been made with this gateway.

        Example:
            >>> class OrderPaid(Event):
            ...     order_id: str
            >>> gateway = Gateway().webhooks(OrderPaid)
        """
        if self._webhooks is not None:
            raise Misdeclared("webhooks are declared already; name all events at once")
        if self._composed:
            raise Misdeclared("webhooks bring a service along: call `webhooks(...)` before `App(..., gateway=...)`")
        self._webhooks = webhooks_of(kinds, WebhookOptions(allow or authenticated, manage, audience, sender))
        for description in descriptions_of(self._webhooks):
            self._descriptions[description.name] = description
            for operation in description.operations.values():
                if operation.options.route:
                    item = own_route(operation, self.prefix + path)
                    self._expose(msgspec.structs.replace(item, path=item.path.removesuffix("/")))
        return self

    def receive(self, kind: type[Event], path: str, *, signed: Scheme) -> Self:
        """Take webhooks of somebody else, and tell each as an event, once however often it comes.

        What is not signed is refused; `identify` is not asked here, the signature says who it is. The answer comes when
        the event is kept, in the log of the service that lists it in its `events`: react to it with `@on`.

        Args:
            kind: The event; its fields are what is read of the body, the rest is passed over.
            path: Where they come in, such as `/hooks/stripe`.
            signed: How, and with which secrets: `Signed.standard("whsec_...")`, `Signed.stripe("whsec_...")`,
                `Signed.github("...")`, or a scheme of your own.

        Raises:
            Misdeclared: It is no event, or the path is taken or has placeholders.

        Example:
            >>> from hanse.gateway.webhooks.verify import Signed
            >>> class Pushed(Event):
            ...     ref: str
            >>> gateway = Gateway().receive(Pushed, "/hooks/github", signed=Signed.github("what GitHub was told"))
        """
        if not _is_class(kind, Event):
            raise Misdeclared(f"expected an Event class such as `class StripeEvent(Event)`, got {kind!r}")
        if "{" in path:
            raise Misdeclared(f"expected a path without placeholders for webhooks, got {path!r}")
        received = Received(kind, self.prefix + path, signed)
        self._reserve(received.path, {"POST"})
        self._received.append(received)
        return self

    @property
    def services(self) -> list[type[Service]]:
        """The services that it brings into the app."""
        self._composed = True
        return [] if self._webhooks is None else [self._webhooks]

    def rpc(self, contract: type) -> Self:
        """Expose the operations of a contract or a service: `POST /rpc/{service}/{operation}`, and their own routes.

        Raises:
            Misdeclared: It is neither contract nor service, is exposed already, or a route cannot be.
        """
        for description in _descriptions(contract):
            if description.name in self._descriptions:
                raise Misdeclared(f"{description.name} is exposed already")
            self._descriptions[description.name] = description
            for operation in description.operations.values():
                path = f"{self.prefix}/rpc/{description.name}/{operation.name}"
                self._expose(OperationPath(operation, path))
                if operation.options.route:
                    self._expose(own_route(operation, self.prefix))
        return self

    def static(self, path: str, directory: str | Path, *, spa: bool = False) -> Self:
        """Serve the files of a folder; `index.html` answers for a folder itself. What is declared otherwise wins.

        Answers can be revalidated (ETag), resumed (ranges) and are taken from `app.js.br`, `.zst` or `.gz` beside
        `app.js` where the client takes that. Names with a hash in them, such as `app-3f9c1b2e.js`, are kept for a year.
        Dotfiles, but for `.well-known`, and links that lead out of the folder are not there.

        Args:
            path: Where the files are, such as `/`: as it is, without the gateway's prefix.
            directory: The folder.
            spa: Whether its `index.html` answers for pages that are not there, as an application in the browser with
                paths of its own needs it. Files that are missing, and paths below `/api` or beside those of this
                gateway, stay missing.

        Raises:
            Misdeclared: There is no such folder, or its path is taken.
        """
        _ = parts_of(path)
        folder = Path(directory)
        if not folder.is_dir():
            raise Misdeclared(f"expected a folder to serve at {path}, but {folder} is none")
        if spa and not (folder / "index.html").is_file():
            raise Misdeclared(f"expected an index.html in {folder}, as spa=True says, but there is none")
        self._check_free(path)
        self._folders.append(Folder(path.rstrip("/"), folder, spa))
        return self

    def mount(self, path: str, app: Callable[..., object]) -> Self:
        """Have an application of another framework answer all paths below one; what is declared here wins.

        An ASGI application (FastAPI, Starlette, Django's `asgi`) is started and stopped with the node, finds that as
        `hanse` in its state, and may speak WebSocket. A WSGI one (Flask, Django's `wsgi`) runs in threads and needs
        the extra `wsgi`. Their errors, and who may do what, are their own affair; the limits of this door hold.

        Args:
            path: Such as `/old`: as it is, without the gateway's prefix. `/` stands for all that is left.
            app: The application.

        Raises:
            Misdeclared: It is none, its path is taken, or what WSGI needs is not installed.
        """
        mount = mount_of(path, app)
        self._check_free(path)
        self._mounts.append(mount)
        return self

    def asgi(self, node: Node, /) -> Application:
        """The ASGI application that serves a node, for any ASGI server. Whoever calls it starts and stops the node."""
        # Whoever loads the app for other services than the gateway only declares it, and starts without all of this.
        from hanse.gateway.build import build

        body_bytes = self._body_max or node.settings.gateway.body_max
        streams = Streams(msgspec.structs.replace(self.limits, body_bytes=body_bytes), node.host)
        self._open = [item for item in self._open if item[1]() is not None]
        self._open.append((ref(node), ref(streams)))
        return build(self.declared(), node, streams)

    async def drain(self, node: Node | None = None, /) -> None:
        """End all streams with a hint to resume elsewhere; new ones are refused from now on.

        Calls under way over WebSocket are answered before, so bound it with a timeout.

        Args:
            node: Whose streams; those of all nodes that it serves, without one.
        """
        for served, found in self._open:
            streams = found() if node is None or served() is node else None
            if streams is not None:
                await streams.drain()

    def declared(self) -> Declared:
        """All that is exposed."""
        return Declared(
            self.prefix,
            tuple(self._resources.values()),
            tuple(self._operations),
            tuple(self._descriptions.values()),
            tuple(self._folders),
            self._identify,
            tuple(self._own.values()),
            tuple(self._mounts),
            self._cors,
            self._rates,
            tuple(self._topics.values()),
            tuple(self._received),
            () if self._webhooks is None else tuple(self._webhooks.__kinds__.values()),
            docs=self._docs,
        )

    def _own_route(self, function: Callable[..., object], method: str, path: str, options: RouteOptions) -> None:
        route = own_route_of(function, method, path, self.prefix, options)
        if route.about.name in self._own:
            raise Misdeclared(
                f'two routes are called {route.about.name!r}; name one: @gateway.{method.lower()}("{path}", name="...")'
            )
        self._reserve(route.about.path, {method})
        self._own[route.about.name] = route

    @property
    def surface(self) -> list[str]:
        """What the outside can ask for: methods with their paths; of files and mounted applications, the path alone."""
        routes = [f"{method} {route.template}" for route in self._declared for method in sorted(route.methods)]
        return [*routes, *(folder.path for folder in self._folders), *(mount.path for mount in self._mounts)]

    @property
    def docs_path(self) -> str:
        """Path of the page that shows what is exposed; empty where there is none."""
        return f"{self.prefix}/docs" if self._docs else ""

    @property
    def identifies(self) -> bool:
        """Whether it asks who is asking; otherwise everybody is anonymous."""
        return self._identify is not None

    def _expose(self, item: OperationPath) -> None:
        self._reserve(item.path, {item.method})
        self._operations.append(item)

    def _check_free(self, path: str) -> None:
        taken = {*(folder.path for folder in self._folders), *(mount.path for mount in self._mounts)}
        if path.rstrip("/") in taken:
            raise Misdeclared(f"{path} has files or an application already; choose another path")

    def _reserve(self, path: str, methods: Iterable[str]) -> None:
        self._declared.add(path, dict.fromkeys(methods, _declared))


async def _declared(request: Request) -> None:
    """Stands for a handler until there is a node."""
    raise AssertionError(request.path)


def own_route(operation: Operation, prefix: str) -> OperationPath:
    """The route that an operation asks for, such as `GET /stock/{sku}`.

    Raises:
        Misdeclared: It is not a method and a path whose placeholders are arguments.
    """
    route = operation.options.route
    method, _, path = route.partition(" ")
    if method not in METHODS:
        known = ", ".join(sorted(METHODS))
        raise Misdeclared(f"{operation.address} has the route {route!r}; expected one of {known}, then a path")
    fields = operation.arguments.__struct_fields__
    placeholders = [part[1:-1] for part in parts_of(path) if part.startswith("{")]
    if unknown := [name for name in placeholders if name not in fields]:
        known = ", ".join(fields) or "none"
        raise Misdeclared(f"{operation.address} has {{{unknown[0]}}} in its route, but its arguments are {known}")
    return OperationPath(operation, prefix + path, method, own=True)


def _descriptions(contract: type) -> list[Description]:
    if _is_class(contract, object) and is_contract(contract):
        return [describe(contract)]
    if _is_class(contract, Service):
        return descriptions_of(cast("type[Service]", contract))
    raise Misdeclared(f"expected a contract or a Service class, got {contract!r}")


def _is_class(value: object, base: type) -> bool:
    """What users hand in is not always what the types say."""
    return isinstance(value, type) and issubclass(value, base)
