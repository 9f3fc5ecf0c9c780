"""`Node`: one process hosting some of an app. Everything is wired here, by hand, in the order in which it starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Literal, Self, TypeVar, cast

import msgspec

from hanse.contract.derive import Description, Operation
from hanse.contract.model import Event, Resource
from hanse.kernel.context import FOREVER, Context, ambient
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import CouldNotStart, Fault, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.kernel.route import Route
from hanse.kernel.settings import ServiceSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Ask, Caller, Policy, asking, iterating
from hanse.mesh.explained import Explained, explained_by
from hanse.mesh.known import Known, known_by
from hanse.mesh.released import OfRelease, released
from hanse.mesh.routes import TakesRoutes, is_split
from hanse.mesh.server import Server
from hanse.mesh.watch import Watch, watch_of
from hanse.node.app import GATEWAY, App, Part, has_gateway, parts_named
from hanse.node.background import as_unit
from hanse.node.described import described
from hanse.node.dumps import require_loaded
from hanse.node.duty import Duty
from hanse.node.events import (
    Subscription,
    check_retention,
    keeping,
    publishing,
    subscriptions_by_part,
    subscriptions_of,
)
from hanse.node.figures import NodeFigures, counted_by, store_figures
from hanse.node.health import Condition, Health
from hanse.node.hosted import Hosted, contract_client, events_client, jobs_client, rows_client
from hanse.node.kept_routes import KeptRoutes
from hanse.node.ledger import Ledger, ledger_of
from hanse.node.leftover import left_over, told_at_end
from hanse.node.letters import Letters, letters_client
from hanse.node.letters_served import serve_letters
from hanse.node.routes import routes_of, routes_with
from hanse.node.saga_runs import SagaRuns, sagas_client
from hanse.node.stores import open_store, url_for
from hanse.node.topics import Source, TopicFeed, tellers_of
from hanse.node.transports import open_transport, place_of
from hanse.service.collection import Collection
from hanse.service.cpu import using_pool
from hanse.service.job import Jobs
from hanse.service.pool import ProcessPool
from hanse.service.remote import RemoteCollection
from hanse.service.rows import Rows
from hanse.service.saga_method import pinned_in
from hanse.service.service import descriptions_of
from hanse.store.base import Store
from hanse.transport.base import RELEASE, Drains, Keeps, Receiver, Transport
from hanse.transport.described import TellsOthers

T = TypeVar("T")
R = TypeVar("R", bound=Resource)
REST_SHARE = 0.8
"""Of the grace: what rules, schedules and jobs have for what they are at; the rest is for handing on what was told."""

State = Literal["new", "starting", "ready", "draining", "stopped"]

_log = logging.getLogger("hanse.node")


class Node:
    """Hosts the services of an app in this process: all of them, or those that the setting `node.services` names.

    Example:
        >>> from hanse.contract.declare import rpc
        >>> from hanse.service.service import Service
        >>> class Greeter(Service):
        ...     @rpc
        ...     async def hello(self, name: str) -> str:
        ...         return f"Hello, {name}!"
        >>> async def main() -> str:
        ...     async with Node(App("hello", Greeter)) as node:
        ...         return await node.client(Greeter).hello("Ada")
        >>> asyncio.run(main())
        'Hello, Ada!'
    """

    def __init__(
        self,
        app: App,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        *,
        host: Host | None = None,
        transport: Transport | None = None,
        watch: Watch | None = None,
        stores: Callable[[str], Store] = open_store,
    ) -> None:
        """Get ready to host; nothing runs before `start`.

        Args:
            app: The services.
            settings: Stores, limits, and the services' configuration values.
            host: Clocks and chance; the real machine's by default.
            transport: What carries messages; by default one within this process.
            watch: What records calls; by default what the process has set up with OpenTelemetry, if anything.
            stores: How the URL of a service's store becomes a store, not yet open; called at each start, once for each
                service that the node hosts.

        Raises:
            Misconfigured: The settings name a service that the app does not have, or a transport that is not there.
        """
        self.app: App = app
        self.parts: list[Part] = parts_named(app, settings.node.services)
        """The services of the app that it hosts."""
        self.settings: Settings = settings
        self.host: Host = host or Host.system()
        self.state: State = "new"
        self.hosted: list[Hosted] = []
        self._duties: list[Duty] = []
        self._asks: dict[str, Ask] = {}
        self._opened = AsyncExitStack()
        self._changing = asyncio.Lock()
        self._tasks = Tasks(_failed)
        place = place_of(app.name, settings.node, self.host)
        self._here = place.here
        self._transport: Transport = transport or open_transport(settings.node.transport, place)
        self._routes = routes_of(app, settings.routes)
        self._keeps: Keeps | None = keeping(self._transport, settings.node)
        watching = watch or watch_of(self.host)
        self._stores = stores
        self._health = Health(self.host)
        self._server = Server(self.host, calls_max=settings.node.calls_max, watch=watching)
        self._calls = released(self._transport, self.host)
        self._caller = Caller(self._calls, self.host, self._tasks, timeout=settings.node.timeout, watch=watching)

    @property
    def descriptions(self) -> list[Description]:
        """The contracts that this node serves."""
        return [description for part in self.parts for description in descriptions_of(part.cls)]

    async def start(self) -> None:
        """Open stores, wire services, serve.

        Raises:
            Misdeclared: The app does not fit together.
            Misconfigured: A setting is missing or cannot be used.
            CouldNotStart: A store refuses or cannot be reached, or a service's `started` failed.
            Unavailable: It needs routes, and nobody tells them.
        """
        async with self._changing:
            if self.state not in ("new", "stopped"):
                raise Misconfigured(f"this node is {self.state} already; make another one")
            self.app.check()
            _check_services(self.app, self.settings)
            check_retention(self.app, self.settings.node.retention)
            self.state = "starting"
            try:
                with self.context():
                    await self._open()
                fault_point("node.opened")
                if self.settings.node.need_routes:
                    # Before anybody can have it call others.
                    await self._kept_routes().needed()
                await self._listen()
                if self.settings.node.follow_routes and not self.settings.node.need_routes:
                    await self._kept_routes().known()
                await self._warm_up()
                with self.context():
                    self._react()
                fault_point("node.ready")
            except BaseException:
                await self._close()
                raise
            self.state = "ready"

    def drain(self) -> None:
        """Be ready no more, and say so: others ask elsewhere, while what comes is still served until `stop`."""
        self.state = "draining"
        if isinstance(self._transport, Drains):
            self._transport.drain()

    async def stop(self, grace: float | None = None) -> None:
        """Finish what is under way, at most `grace` seconds, and let go.

        Args:
            grace: Seconds; by default those of the settings.
        """
        async with self._changing:
            if self.state in ("new", "stopped"):
                return
            self.drain()
            fault_point("node.draining")
            grace = self.settings.node.grace if grace is None else grace
            try:
                async with asyncio.timeout(grace):
                    await self._finish(grace)
            except TimeoutError:
                relays = [relay for duty in self._duties for relay in duty.relays]
                for line in told_at_end(self._server.running, await left_over(relays)):
                    _log.warning("%s", line)
            except Fault as fault:
                _log.warning("not everything could be finished: %s", fault)
            finally:
                self._server.end_streams()
                _ = await asyncio.gather(*(one.stop(0.0) for hosted in self.hosted for one in hosted.handing_on))
                fault_point("node.drained")
                await self._close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def client(self, contract: Callable[..., T]) -> T:
        """A typed client of a contract, as a service of this node would have it.

        Args:
            contract: The contract's class, or that of a service that is its own. (Typed as what makes a T: mypy takes
                no protocol where a `type[T]` is wanted.)

        Raises:
            Misconfigured: No service of the app provides it.
        """
        return cast("T", contract_client(self.app, cast("type", contract), self._caller))

    def rows(self, kind: type[Resource]) -> Rows:
        """The rows of a resource as JSON, by calls to its owner."""
        return rows_client(kind, self._caller)

    def jobs(self, contract: str) -> Jobs:
        """The operations of a contract (or of a service that is its own), called now and answered later."""
        return jobs_client(contract, self._caller)

    def topic(self, kind: type[Event]) -> TopicFeed:
        """The feed of all events of a kind, by calls to the services that may tell of them.

        Raises:
            Misdeclared: No service may.
        """
        tellers = tellers_of(self.app, kind)
        return TopicFeed(kind, [Source(part.name, events_client(part.name, self._caller)) for part in tellers])

    def collection(self, kind: type[R]) -> Collection[R]:
        """The collection of a resource, by calls to its owner."""
        return RemoteCollection(kind, self.rows(kind))

    def letters(self, service: str) -> Letters:
        """The dead letters of a service, by calls to the node that hosts it, for those who may see them.

        Raises:
            Misconfigured: The app has no such service.
        """
        known = [part.name for part in self.app.parts]
        if service not in known:
            raise Misconfigured(f"expected a service of the app {self.app.name!r}, got {service!r}; it has {known}")
        return letters_client(service, self._caller)

    def sagas(self, service: str) -> SagaRuns:
        """The sagas of a service, by calls to the node that hosts it, for those who may see them.

        Raises:
            Misconfigured: The app has no such service, or that has no sagas.
        """
        known = [part.name for part in self.app.parts if pinned_in(part.cls)]
        if service not in known:
            raise Misconfigured(
                f"expected a service with sagas, got {service!r}; the app {self.app.name!r} has {known}"
            )
        return sagas_client(service, self._caller)

    async def invoke(self, operation: Operation, arguments: msgspec.Struct, policy: Policy = Policy()) -> object:  # noqa: B008
        """Call an operation by its description; for whoever has no class to type a client with, such as a gateway."""
        if policy != Policy():
            return await asking(operation, self._caller, policy)[0](arguments)
        ask = self._asks.get(operation.address)
        if ask is None:
            ask = self._asks[operation.address] = asking(operation, self._caller)[0]
        return await ask(arguments)

    def stream(self, operation: Operation, arguments: msgspec.Struct) -> AsyncIterator[object]:
        """Call a streaming operation by its description."""
        return iterating(operation, self._caller)(arguments)

    @contextmanager
    def context(self, headers: Headers = NO_HEADERS, *, timeout: float = 0.0) -> Generator[Context]:
        """The context of work that comes from outside this node.

        Args:
            headers: Who asks, and what trace it belongs to.
            timeout: Seconds that it may take; 0 for no limit.
        """
        deadline = self.host.monotonic() + timeout if timeout else FOREVER
        if ambient.get().shadow and not headers.shadow:
            # No handler leaves the mark behind by beginning a story of its own.
            headers = msgspec.structs.replace(headers, shadow=True)
        context = Context(self.host, headers, deadline)
        token = ambient.set(context)
        try:
            yield context
        finally:
            ambient.reset(token)

    async def health(self) -> dict[str, Condition]:
        """How each thing that this node needs is, by name, such as `store:orders`; see `hanse.node.health`."""
        return await self._health.look(self._transport, list(self.hosted), started=self.state == "ready")

    async def figures(self) -> NodeFigures:
        """What it has done and is in the middle of, in numbers; each store is asked for its own."""
        return NodeFigures(
            calls=self._server.ended,
            running=self._server.running,
            breakers={address: breaker.state for address, breaker in self._caller.breakers.items()},
            stores=[await store_figures(hosted) for hosted in list(self.hosted)],
            schedules=[schedule for duty in self._duties for schedule in duty.schedules],
            counted=counted_by(self.hosted),
        )

    def ledger(self) -> Ledger:
        """What it has counted of calls and messages since it started."""
        return ledger_of(self._server, [inbox for hosted in self.hosted for inbox in hosted.inboxes])

    def explain(self, address: str, headers: Headers = NO_HEADERS) -> Explained:
        """Who would answer a call that this node made now, and why not others.

        Args:
            address: `service.operation`.
            headers: What the call would carry.
        """
        return explained_by(self._calls, address, headers)

    async def nodes(self) -> list[Known]:
        """Which nodes there are, as this one knows.

        Raises:
            Unavailable: Its transport cannot tell.
        """
        names = tuple(description.name for description in self.descriptions)
        return await known_by(self._transport, msgspec.structs.replace(self._here, names=names))

    @property
    def running(self) -> int:
        """Operations that are being handled."""
        return self._server.running

    @property
    def idle(self) -> bool:
        """Whether it handles nothing at this moment, and no rule or schedule has anything to do."""
        return not self._server.running and all(duty.idle for duty in self._duties)

    async def _open(self) -> None:
        """Everything that has to be closed again: the last opened first."""
        pool = ProcessPool()
        self._opened.push_async_callback(pool.close)
        self._opened.enter_context(using_pool(pool, fallback=True))
        self._go_by(self._routes)
        await self._transport.open()
        self._opened.push_async_callback(self._transport.close)
        for part in self.parts:
            wanted = self.settings.services.get(part.name, ServiceSettings())
            store = self._stores(url_for(self.settings, part.name))
            hosted = Hosted(self.app, part, store, self._caller, wanted.settings, self.host)
            hosted.limit_events(lambda: self._transport.features.bytes_max)
            self._opened.push_async_callback(store.close)
            await store.open(hosted.schemas())
            await require_loaded(store, part.name)
            self.hosted.append(hosted)
        self._server.open()
        _ = self._opened.callback(self._server.close)
        self._opened.push_async_callback(self._tasks.cancel)

    def _go_by(self, routes: Mapping[str, Route], home: str = "") -> None:
        if isinstance(self._calls, TakesRoutes):
            self._calls.route(routes, home)

    def _go_by_kept(self, routes: Mapping[str, Route]) -> None:
        """Go by routes that have changed. What begins here stays with this release, while there is another one."""
        hosts = [part.name for part in self.parts]
        if has_gateway(self.settings.node.services):
            hosts.append(GATEWAY)
        in_two = any(is_split(routes[name]) for name in hosts if name in routes)
        self._go_by(routes_with(self.app, self.settings.routes, routes), self._here.release if in_two else "")

    def _kept_routes(self) -> KeptRoutes:
        """Go by the routes that are kept, from when they are known."""
        kept = KeptRoutes(
            self._here.instance,
            self._caller,
            self.host,
            self._go_by_kept,
        )
        for work in (kept.follow(), kept.say()):
            _ = self._tasks.start(work, name="routes")
        return kept

    async def _warm_up(self) -> None:
        for hosted in self.hosted:
            name, instance = hosted.part.name, hosted.instance
            # First the way back: a hook that fails may have opened something.
            self._opened.push_async_callback(as_unit, f"{name}.stopping", hosted, self.host, instance.stopping)
            try:
                await as_unit(f"{name}.started", hosted, self.host, instance.started)
            except Misconfigured:
                raise  # it says what is wrong with the settings, for those who write them
            except Exception as error:
                _log.exception("%s.started failed", name)
                raise CouldNotStart(f"{name}.started failed: {type(error).__name__}: {error}") from error

    async def _close(self) -> None:
        """Undo everything, the last first; what fails in between keeps nothing else from being closed."""
        try:
            await self._opened.aclose()
        finally:
            self.hosted.clear()
            self._duties.clear()
            self.state = "stopped"

    async def _listen(self) -> None:
        if isinstance(self._transport, TellsOthers):
            for description in self.descriptions:
                self._transport.describe(described(description))
        for hosted in self.hosted:
            for name in (*hosted.serve(self._server), serve_letters(hosted, self.app, self._server, self.host)):
                self._serve(name)
        for subscription in subscriptions_of(self.app):
            for hosted in self.hosted:
                if hosted.part is subscription.part:
                    self._server.add(subscription.address, await subscription.endpoint(hosted, self.host))
                    self._hear(subscription.service, self._server)
                self._deliver(subscription, hosted)
        if self._keeps is not None:
            for hosted in self.hosted:
                hosted.relays.append(publishing(hosted, self._keeps, self.host))

    def _deliver(self, subscription: Subscription, hosted: Hosted) -> None:
        """Have what a service tells come to a subscriber that wants it, by its log or by a broker that keeps it."""
        if self._keeps is not None and subscription.is_of_events:
            if hosted.part is subscription.part:
                hosted.subscribers.append(subscription.subscriber(hosted, self._keeps, self._transport, self.host))
        elif (relay := subscription.relay(hosted, self._transport, self.host)) is not None:
            hosted.relays.append(relay)

    def _serve(self, name: str) -> None:
        self._hear(name, self._server)
        if self._calls is not self._transport and self.settings.node.release:
            self._hear(f"{name}{RELEASE}{self.settings.node.release}", OfRelease(self._server))

    def _hear(self, name: str, receiver: Receiver) -> None:
        self._transport.listen(name, receiver)
        self._opened.callback(self._transport.leave, name)

    async def _finish(self, grace: float) -> None:
        """Begin nothing new, end what is under way, hand on what it told of: in this order nothing is left behind."""
        self._server.drain()
        # What takes longer is given up a little before the end of the grace, so that what was told is still handed on.
        _ = await asyncio.gather(*(duty.rest(grace * REST_SHARE) for duty in self._duties))
        await self._server.idle()
        await self._settle(insist=False)
        _ = await asyncio.gather(*(duty.stop() for duty in self._duties))

    def _react(self) -> None:
        settings, own = self.settings.node, subscriptions_by_part(self.app)
        self._duties = [Duty(one, self.host, settings, own[one.part.name], self._server) for one in self.hosted]
        for duty in self._duties:
            _ = self._tasks.start(duty.run(), name=duty.name)

    async def settle(self) -> None:
        """Wait until every event that the services of this node told is handled or parked, and what these led to here.

        Bound it with a timeout: a subscriber that is away is waited for.

        Raises:
            Unavailable: The node stopped before.
        """
        await self._settle(insist=True)

    async def _settle(self, *, insist: bool) -> None:
        heads: list[int] = []
        while heads != (heads := [await hosted.store.head() for hosted in self.hosted]):
            for duty in self._duties:
                await duty.flush(insist=insist)
            for duty in self._duties:
                await duty.flush_subscribers(insist=insist)


def _check_services(app: App, settings: Settings) -> None:
    names = {part.name for part in app.parts}
    for name, wanted in settings.services.items():
        if name not in names and wanted.settings:
            known = ", ".join(sorted(names))
            raise Misconfigured(f"services.{name}.settings is set, but the app {app.name!r} has the services {known}")


def _failed(error: BaseException) -> None:
    _log.error("a background task failed", exc_info=error)
