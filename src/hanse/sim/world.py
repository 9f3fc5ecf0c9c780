"""The world in a box: an app on simulated machines, what goes wrong with them, and who looks on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, final

import msgspec

from hanse.contract.declare import is_contract
from hanse.contract.derive import describe
from hanse.contract.model import Resource, collection_of
from hanse.kernel.context import Context, ambient
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misconfigured, Misdeclared
from hanse.kernel.message import Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller
from hanse.mesh.server import Server
from hanse.node.app import App
from hanse.node.bind import endpoint
from hanse.node.hosted import contract_client, rows_client
from hanse.node.stores import store_url
from hanse.service.collection import Collection
from hanse.service.remote import RemoteCollection
from hanse.service.service import Service
from hanse.service.shape import shape_of
from hanse.sim.chance import Chance, Draws, chance_of
from hanse.sim.check import VIOLATIONS_MAX, Check, Observer, Violation, broken
from hanse.sim.disk import Disk
from hanse.sim.loop import Lane, Loop
from hanse.sim.machine import WALL, Clockwork, Ground, Machine, host_of, until
from hanse.sim.network import Link, Network
from hanse.sim.plan import LostFlush, Plan, PowerLoss
from hanse.sim.profile import Weather
from hanse.sim.trace import Trace
from hanse.sim.transport import SimTransport
from hanse.sim.trouble import Troubles
from hanse.store.base import Batch
from hanse.store.memory import MemoryStore
from hanse.store.sqlite.query import table_name

T = TypeVar("T")
R = TypeVar("R", bound=Resource)

CLIENT = "client"
"""The machine of the story: it lasts as long as the world."""

STORE = "sqlite:///{service}.db?synchronous=full"
"""Where services keep their rows, unless the settings say otherwise."""

START_SECONDS = 120.0
"""How long the machines may take to be up."""

SETTLE_SECONDS = 600.0
"""How long a world may take until every cascade is done."""

EVENTUALLY_SECONDS = 300.0
"""How long what has to hold in the end may take to, once the world has healed."""

CHECK_SECONDS = 0.05
"""What always has to hold is looked at so soon after a commit."""

POLL_SECONDS = 0.1
"""How often a world looks whether it has settled."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a world consists of.

    Attributes:
        app: The services.
        machines: Which services each machine hosts, by its name; by default each service has one of its own.
        settings: As for a node; the store is a SQLite file that flushes each commit, unless they say otherwise.
        upgrade: The version of the app that takes the place of the first where a plan replaces processes.
    """

    app: App
    machines: Mapping[str, Iterable[type[Service]]] | None = None
    settings: Settings = Settings(node=NodeSettings(store=STORE))
    upgrade: App | None = None


class Wires:
    """The network, as a story changes it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def between(self, one: type, other: type, *, drop: float = 0.0, delay: Duration | None = None) -> None:
        """Make the way between two services worse, in both directions, until it is told otherwise.

        Args:
            one: A service, or a contract that it keeps.
            other: Another one.
            drop: Share of packets that get lost.
            delay: How much longer they take at most.
        """
        for link in self._links(one, other):
            link.loss = drop
            link.delay = 0.0 if delay is None else seconds(delay)

    def cut(self, one: type, other: type) -> None:
        """Let nothing through between two services."""
        self._world.net.cut(self._links(one, other))

    def mend(self, one: type, other: type) -> None:
        """Take back a `cut`."""
        self._world.net.mend(self._links(one, other))

    def _links(self, one: type, other: type) -> list[Link]:
        a, b = self._world.machine_of(one).name, self._world.machine_of(other).name
        return [self._world.net.link(a, b), self._world.net.link(b, a)]


@final
class World:
    """An app on simulated machines.

    Attributes:
        seconds: How long what is planned goes wrong; stories take it for the length of their work.
        chance: Draws for the story, from the seed.
        machines: By name.
        network: To make the ways between services worse by hand.
        violations: What did not hold.
        reached: Names of what happened at least once.
    """

    def __init__(self, setup: Setup, seed: int, *, length: float = 0.0, keep: bool = False) -> None:
        """Build a world; `start` brings it to life. It needs the running loop to be a simulated one.

        Args:
            setup: The app, and where it runs.
            seed: Decides everything that is left to chance.
            length: Seconds of the plan.
            keep: Whether to keep what happens, for a report.

        Raises:
            Misconfigured: The loop is a real one.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, Loop):
            raise Misconfigured(
                "a world needs virtual time: decorate the test with @simulation, or run it with hanse.sim.run()"
            )
        self.loop: Loop = loop
        self.seed: int = seed
        self.seconds: float = length
        self.app: App = setup.app
        self.upgrade: App | None = setup.upgrade
        self.trace: Trace = Trace(keep=keep)
        self.net: Network = Network(loop, self.trace, seed)
        self.network: Wires = Wires(self)
        self.chance: Chance = chance_of(seed, "story")
        self.observers: list[Observer] = []
        self.violations: list[Violation] = []
        self.reached: set[str] = set()
        self.failed: asyncio.Event = asyncio.Event()
        self.troubles: Troubles = Troubles(self)
        self._always: list[tuple[str, Check]] = []
        self._eventually: list[tuple[str, Check]] = []
        self._checking = False
        self._dead: list[Lane] = []
        ground = Ground(loop=loop, trace=self.trace, network=self.net, seed=seed)
        self.machines: dict[str, Machine] = {
            name: Machine(name, services, setup.app, setup.settings, ground, self._disk(name))
            for name, services in _placed(setup).items()
        }
        self._settings = setup.settings
        self.host = host_of(loop.home, chance=(seed, CLIENT, 0), wall=lambda: WALL + loop.now)
        ambient.set(Context(self.host))
        self._transport = SimTransport(self.net, loop.home)
        self._tasks = Tasks(self._story_broke)
        self._caller = Caller(self._transport, self.host, self._tasks, timeout=setup.settings.node.timeout)
        self._log = _Log(self)

    # What stories use.

    @property
    def time(self) -> float:
        """Seconds since the world began."""
        return self.loop.now

    def client(self, contract: Callable[..., T]) -> T:
        """A typed client of a contract, on a machine outside of all services.

        Raises:
            Misconfigured: No service of the app provides it.
        """
        return cast("T", contract_client(self.app, cast("type", contract), self._caller))

    def collection(self, kind: type[R]) -> Collection[R]:
        """The collection of a resource, by calls to its owner."""
        return RemoteCollection(kind, rows_client(kind, self._caller))

    def rows(self, kind: type[R]) -> list[R]:
        """The rows as they stand in the owner's file now, read past all code that they belong to: for checks."""
        owner = self.app.owners.get(kind)
        if owner is None:
            raise Misconfigured(f"no service of the app {self.app.name!r} owns {kind.__name__}")
        shape = shape_of(kind)
        table = table_name(collection_of(kind))
        found = self.query(owner.cls, f"SELECT id, rev, CAST(value AS BLOB) FROM {table} ORDER BY id")  # noqa: S608
        return [shape.read(cast("bytes", value), cast("str", id), cast("int", rev)) for id, rev, value in found]

    def query(self, service: type[Service], statement: str, *values: object) -> list[tuple[object, ...]]:
        """Read the file of a service with SQL of one's own, past all code that it belongs to.

        Returns:
            The rows; none as long as there is no file.
        """
        machine = self.machine_of(service)
        name = next(part.name for part in self.app.parts if part.cls is service)
        file = machine.disk.files.get(self._path(name))
        return [] if file is None else file.connection.execute(statement, values).fetchall()

    async def arrivals(self, rate: float, length: float | None = None) -> AsyncIterator[int]:
        """Come at random times, as customers do (a Poisson process).

        Args:
            rate: How many in a second, on average.
            length: For how many seconds; by default those of the world.

        Yields:
            0, 1, 2, ...
        """
        end = self.time + (self.seconds if length is None else length)
        count = 0
        while True:
            await asyncio.sleep(self.chance.expovariate(rate))
            if self.time >= end:
                return
            yield count
            count += 1

    async def advance(self, duration: Duration) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds(duration))

    def crash(self, service: type) -> None:
        """Kill the process of a service as by `kill -9`; `restart` starts it again."""
        self.machine_of(service).kill()

    def power_cut(self, service: type) -> None:
        """Turn the machine of a service off: what its disk had not flushed is gone. `restart` turns it on again."""
        self.machine_of(service).kill(dark=True)

    def pause(self, service: type, duration: Duration) -> None:
        """Have the process of a service stand still for some time."""
        self.machine_of(service).pause(seconds(duration))

    async def restart(self, service: type) -> None:
        """Start the process of a service, where it is down, and wait until it is up."""
        machine = self.machine_of(service)
        machine.start()
        if not await until(lambda: machine.state == "up", every=POLL_SECONDS, limit=START_SECONDS):
            raise Misconfigured(f"{machine.name} did not start within {START_SECONDS:g} s")

    async def replace(self, service: type, app: App) -> None:
        """Have the process of a service finish, and one with another version of the code take its place."""
        machine = self.machine_of(service)
        machine.app = app
        machine.stop(self._settings.node.grace, machine.start)
        _ = await until(lambda: machine.state != "stopping", every=POLL_SECONDS, limit=START_SECONDS)
        await self.restart(service)

    def fake(self, contract: Callable[..., T], instance: object) -> None:
        """Let an object of the test's answer for a contract; the service that did before is gone.

        Raises:
            Misdeclared: It lacks an operation of the contract.
        """
        part = self.app.providers.get(cast("type", contract))
        if part is None:
            raise Misconfigured(f"no service of the app {self.app.name!r} provides {contract!r}")
        description = describe(cast("type", contract) if is_contract(cast("type", contract)) else part.cls)
        missing = [name for name in description.operations if not callable(getattr(instance, name, None))]
        if missing:
            raise Misdeclared(
                f"{type(instance).__name__} has no {', '.join(missing)}, which {description.name} promises"
            )
        machine = self.machine_of(part.cls)
        machine.kill()
        machine.retire(part.name)
        server, store = Server(self.host, calls_max=self._settings.node.calls_max), MemoryStore()
        for name, operation in description.operations.items():
            server.add(operation.address, endpoint(operation, getattr(instance, name), store))
        self.net.forget(description.name)
        self._transport.listen(description.name, server)

    async def settle(self, limit: float = SETTLE_SECONDS) -> None:
        """Wait until every event so far is handled or parked, every rule has run, and what these led to.

        Raises:
            TimeoutError: It did not come to rest within `limit` seconds, or a machine is down.
        """
        async with asyncio.timeout(limit):
            calm = 0
            while calm < 2:  # noqa: PLR2004 - what one look just misses, the next one sees
                _ = await asyncio.gather(*(machine.settled() for machine in self.machines.values()))
                quiet = not self.net.under_way and all(machine.idle for machine in self.machines.values())
                calm = calm + 1 if quiet else 0
                await asyncio.sleep(POLL_SECONDS)

    def always(self, name: str, check: Check) -> None:
        """Look after commits whether something holds; it may look at `rows` and at what the story knows."""
        self._always.append((name, check))

    def eventually(self, name: str, check: Check) -> None:
        """Once the story is over and the world has healed, something has to become true, and to stay so."""
        self._eventually.append((name, check))

    def sometimes(self, name: str) -> None:
        """Note that something happened. What the simulation lists must happen in at least one of its seeds."""
        self.reached.add(name)

    # What runs it.

    def machine_of(self, service: type) -> Machine:
        """The machine that hosts a service, or that which provides a contract."""
        part = self.app.providers.get(service)
        if part is None:
            raise Misconfigured(f"no service of the app {self.app.name!r} is or provides {service.__name__}")
        return next(machine for machine in self.machines.values() if part.name in machine.services)

    async def start(self, weather: Weather, plan: Plan = ()) -> None:
        """Bring all machines up, under some weather.

        Args:
            weather: What the network and the disks are like.
            plan: What will go wrong: disks keep what would be lost only where it may be needed.
        """
        self.net.latency_low, self.net.latency_high = weather.latency_low, weather.latency_high
        self.net.loss, self.net.repeat = weather.loss, weather.repeat
        dark = {one.machine for one in plan if isinstance(one, (PowerLoss, LostFlush))}
        for machine in self.machines.values():
            draws = Draws(self.seed, "clock", machine.name)
            machine.clockwork = Clockwork(
                skew=draws.between(-weather.skew_max, weather.skew_max),
                drift=draws.between(-weather.drift_max, weather.drift_max),
            )
            machine.disk.low, machine.disk.high = weather.disk_low, weather.disk_high
            machine.disk.dark = machine.name in dark
            machine.start()
        await self.up()

    async def up(self) -> None:
        """Wait until every machine is up. Raises `TimeoutError`."""
        if not await until(self._all_up, every=POLL_SECONDS, limit=START_SECONDS):
            down = ", ".join(
                machine.name for machine in self.machines.values() if machine.state != "up" and not machine.retired
            )
            raise TimeoutError(f"{down} did not start within {START_SECONDS:g} s")

    def _all_up(self) -> bool:
        return all(machine.up for machine in self.machines.values())

    async def heal(self) -> None:
        """Let nothing go wrong any more, and have everything up."""
        self.troubles.end()
        self.net.loss = self.net.repeat = 0.0
        self.trace.add(self.loop.now, "", "heal")
        for machine in self.machines.values():
            machine.start()
        await self.up()

    async def conclude(self) -> None:
        """Wait for what has to hold in the end, and have the observers take their last look."""
        for name, check in self._eventually:
            if not await until(lambda check=check: broken(check) is None, every=1.0, limit=EVENTUALLY_SECONDS):  # type: ignore[misc]
                self.violate(name, broken(check) or "it does not hold for long")
        self._check_always()
        for observer in self.observers:
            observer.finish()

    def violate(self, check: str, detail: str) -> None:
        """Something does not hold."""
        self.trace.add(self.loop.now, "", "violation", f"{check}: {detail}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(check, detail, self.loop.now))
        self.failed.set()

    def close(self) -> None:
        """End it: every process dies."""
        self._log.close()
        for machine in self.machines.values():
            machine.kill()
            self._dead += machine.dead
        self.loop.bury(self._dead)

    # What is told to observers.

    def committed(
        self, machine: str, path: str, batch: Batch, positions: tuple[int, ...], /, *, acknowledged: bool
    ) -> None:
        """See `hanse.sim.disk.Committed`."""
        for observer in self.observers:
            if acknowledged:
                observer.acknowledged(machine, path, batch, positions)
            else:
                observer.committed(machine, path, batch, positions)
        if not acknowledged and self._always and not self._checking:
            self._checking = True
            _ = self.loop.at(self.loop.now + CHECK_SECONDS, self._check_always)

    def said(self, source: str, target: str, message: Message) -> None:
        """A message is sent."""
        for observer in self.observers:
            observer.said(source, target, message)

    def _check_always(self) -> None:
        self._checking = False
        for name, check in self._always:
            wrong = broken(check)
            if wrong is not None:
                self.violate(name, wrong)

    def _disk(self, name: str) -> Disk:
        return Disk(self.loop, self.trace, self.seed, name, self.committed)

    def _path(self, service: str) -> str:
        wanted = self._settings.services.get(service)
        url = (wanted.store if wanted else "") or store_url(self._settings.node.store, service)
        return url.partition("?")[0].removeprefix("sqlite:///")

    def _story_broke(self, error: BaseException) -> None:
        self.violate("story", f"a call that nobody awaited failed: {error}")


class _Log(logging.Handler):
    """What is logged in a world is an effect like any other; what a dead process says is not heard."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self._world = world
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line."""
        lane = self._world.loop.lane
        if lane.alive:
            line = f"{record.levelname} {record.name}: {record.getMessage()}"
            self._world.trace.add(self._world.loop.now, lane.name, "log", line)

    def close(self) -> None:
        """Hear nothing more."""
        logging.getLogger().removeHandler(self)
        super().close()


def _placed(setup: Setup) -> dict[str, tuple[str, ...]]:
    """The names of the services of each machine."""
    names: dict[type[Any], str] = {part.cls: part.name for part in setup.app.parts}
    if setup.machines is None:
        return {name: (name,) for name in names.values()}
    placed = {machine: tuple(names[one] for one in services) for machine, services in setup.machines.items()}
    missing = set(names.values()) - {name for services in placed.values() for name in services}
    if missing:
        raise Misconfigured(f"no machine hosts {', '.join(sorted(missing))}; each service has to be on one")
    return placed
