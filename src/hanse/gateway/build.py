"""From what a gateway declares, and a node, to the ASGI application: every part wired by hand, here."""

from __future__ import annotations

from collections.abc import Callable

from hanse.contract.asyncapi import EventPath, Talk, asyncapi
from hanse.contract.openapi import Exposed, openapi
from hanse.contract.schema import Json
from hanse.gateway.asgi import Request, Response
from hanse.gateway.checks import checks_of, manners_of
from hanse.gateway.context import READING
from hanse.gateway.declared import Declared
from hanse.gateway.docs_page import docs_page
from hanse.gateway.events import EventRoutes
from hanse.gateway.expansion import Expansion, Target, targets_of
from hanse.gateway.exposed import ExposedRows
from hanse.gateway.figures import Requests
from hanse.gateway.files import Files
from hanse.gateway.front_door import Check, FrontDoor, Inside
from hanse.gateway.jobs import JobRoutes
from hanse.gateway.later import LaterWrites
from hanse.gateway.letters import LettersPage
from hanse.gateway.limits import Limits
from hanse.gateway.metrics import Metrics
from hanse.gateway.mount import Mounts
from hanse.gateway.own_handler import OwnHandler
from hanse.gateway.problem import NotInstalled, UpgradeRequired
from hanse.gateway.rates import Meters
from hanse.gateway.rest import ACCEPT_PATCH, ACCEPT_QUERY, ResourceRoutes
from hanse.gateway.room import Room
from hanse.gateway.routes import Handler, Routes
from hanse.gateway.rpc import OperationRoute
from hanse.gateway.socket import Sockets
from hanse.gateway.socket_asks import Live
from hanse.gateway.socket_protocol import ASKS, TELLS
from hanse.gateway.sse import FeedStream
from hanse.gateway.streams import Streams
from hanse.gateway.views import Views
from hanse.gateway.webhooks.receive import Receiver
from hanse.gateway.webhooks.unbelieved import Unbelieved
from hanse.kernel.codec import encode_json
from hanse.node.node import Node
from hanse.service.service import descriptions_of
from hanse.service.threads import Threads

TOLD_LIMITS = ("body_bytes", "url_bytes", "headers", "depth", "items", "text_bytes", "message_bytes", "subscriptions")
"""Limits that clients have to keep to; the others are between us and the machine."""


def build(declared: Declared, node: Node, streams: Streams) -> FrontDoor:
    """The application that serves what is declared."""
    routes, views = Routes(), Views(node, streams.limits)
    jobs = JobRoutes(_jobs_path(declared), node, streams)
    exposed = _add_rows(routes, declared, views, jobs, streams)
    for topic in declared.topics:
        routes.add(topic.path, EventRoutes(topic, node, views, streams).methods())
    unbelieved = Unbelieved()
    for one in declared.received:
        routes.add(one.path, {"POST": Receiver(one, node, streams.limits, unbelieved)})
    for item in declared.operations:
        route = OperationRoute(item.operation, node, streams, jobs)
        routes.add(item.path, {item.method: route.routed if item.own else route.post})
    if _may_be_jobs(declared):
        routes.add(f"{jobs.path}/{{id}}", {"GET": jobs.get, "DELETE": jobs.cancel})
    threads = Threads(streams.limits.threads, "hanse-route")
    for own in declared.own:
        routes.add(own.about.path, {own.about.method: OwnHandler(own, node, streams, threads)})
    _add_documents(routes, declared, node, streams)
    live_path = f"{declared.prefix}/live"
    routes.add(live_path, {"GET": _no_socket})
    reserved = frozenset({"api", *(path[1:].partition("/")[0] for path in declared.paths)})
    requests, room = Requests(), Room(streams.limits, streams)
    meters = Meters(declared.rates, streams.limits.callers) if declared.rates else None
    inside = Inside(
        room,
        routes,
        _checks(declared, node, Metrics(node, requests, streams, room, unbelieved.counts), routes, streams.limits),
        Sockets(live_path, Live(exposed, declared.operations, node, declared.topics), views, streams),
        Mounts(declared.mounts, [folder.path for folder in declared.folders], node, streams),
        manners_of(node, meters, declared.cors),
        declared.identify,
        Files(declared.folders, reserved) if declared.folders else None,
        requests,
        declared.signed,
    )
    return FrontDoor(node, streams, inside)


def _add_rows(routes: Routes, declared: Declared, views: Views, jobs: JobRoutes, streams: Streams) -> list[ExposedRows]:
    """The paths of all resources; what may be done with the rows of each, for the WebSocket too."""
    node = jobs.node
    kinds = [one.kind for one in declared.resources]
    expansion = Expansion(targets_of(Target(kind, node.rows(kind), node.app.owners[kind].name) for kind in kinds))
    exposed = [ExposedRows(one, node.rows(one.kind), expansion) for one in declared.resources]
    for rows in exposed:
        resource = rows.resource
        follow = FeedStream(resource.kind, views, streams) if resource.live else None
        later = LaterWrites(rows, jobs, descriptions_of(node.app.owners[resource.kind].cls)[0].name)
        _add_resource(routes, resource.path, ResourceRoutes(rows, streams, later, follow=follow))
    return exposed


def _add_documents(routes: Routes, declared: Declared, node: Node, streams: Streams) -> None:
    """The documents; what they list of faults is what callers are told in full."""
    told, heard = _exposed(declared, node, streams.limits), _topics(declared, node)
    streams.faults = frozenset(told.faults)
    makers: dict[str, Callable[[str], Json]] = {
        "openapi": lambda root: openapi(told, root=root),
        "asyncapi": lambda root: asyncapi(told, Talk(ASKS, TELLS), heard, root=root),
    }
    for name, make in makers.items():
        routes.add(f"{declared.prefix}/{name}.json", {"GET": _document(make)})


def _checks(declared: Declared, node: Node, metrics: Check, routes: Routes, limits: Limits) -> dict[str, Check]:
    """What operators and developers ask for; routes of the app's own win over all but health."""
    checks = checks_of(node, metrics, taken=lambda path: routes.find(path) is not None)
    if node.settings.gateway.metrics != "off" and routes.find(("deadletterz",)) is None:
        checks["/deadletterz"] = LettersPage(node, declared.identify, limits)
    docs = f"{declared.prefix}/docs"
    if declared.docs and routes.find(tuple(docs[1:].split("/"))) is None:
        # It holds nothing but itself, and a token for what it shows is entered there: nobody is asked who they are.
        checks[docs] = docs_page
    return checks


def _jobs_path(declared: Declared) -> str:
    return f"{declared.prefix}/operations"


def _may_be_jobs(declared: Declared) -> bool:
    """Whether anything may be called or written that can be answered later."""
    called = any(not item.operation.stream and item.method not in READING for item in declared.operations)
    return called or any(resource.write for resource in declared.resources)


def _add_resource(routes: Routes, path: str, handlers: ResourceRoutes) -> None:
    rows, row = handlers.collection_methods(), handlers.row_methods()
    routes.add(path, rows, (ACCEPT_QUERY,))
    routes.add(f"{path}/{{id}}", row, (ACCEPT_PATCH,) if "PATCH" in row else ())


def _exposed(declared: Declared, node: Node, limits: Limits) -> Exposed:
    return Exposed(
        node.app.name,
        declared.resources,
        declared.operations,
        declared.descriptions,
        [*(own.about for own in declared.own), *(one.about for one in declared.received)],
        prefix=declared.prefix,
        identified=declared.identify is not None,
        limits={name: getattr(limits, name) for name in TOLD_LIMITS},
        jobs=f"{_jobs_path(declared)}/{{id}}" if _may_be_jobs(declared) else "",
        topics=declared.topics,
        sent=declared.sent,
    )


def _topics(declared: Declared, node: Node) -> list[EventPath]:
    """The events that contracts list or that are exposed."""
    events = {kind: EventPath(kind, one.name) for one in declared.descriptions for kind in one.events}
    for one in declared.topics:
        service = node.topic(one.kind).first.service
        events[one.kind] = EventPath(one.kind, service, one.path, one.emit, one.live)
    return list(events.values())


def _document(make: Callable[[str], Json]) -> Handler:
    """Answers with a document, made when it is first asked for at the place where it is reached."""
    made: dict[str, Response] = {}

    async def handler(request: Request) -> Response:
        found = made.get(request.root)
        if found is None:
            made.clear()
            found = made[request.root] = Response(200, encode_json(make(request.root)))
        return found

    return handler


async def _no_socket(request: Request) -> Response:
    if request.header(b"upgrade").lower() == "websocket":
        raise NotInstalled("WebSocket", "hanse[standard]")
    raise UpgradeRequired("websocket")
