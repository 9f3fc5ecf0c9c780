"""The world in a box: an app on simulated machines, what goes wrong with them, and who looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeVar, cast, final

from hanse.contract.model import Resource
from hanse.kernel.context import Context, ambient
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.kernel.settings import NodeSettings
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller
from hanse.node.app import App
from hanse.node.hosted import contract_client, rows_client
from hanse.node.letters import Letters, letters_client
from hanse.service.collection import Collection
from hanse.service.cpu import using_pool
from hanse.service.pool import InlinePool
from hanse.service.remote import RemoteCollection
from hanse.service.service import Service, service_name
from hanse.sim.audience import Audience
from hanse.sim.boxes import SETTLE_SECONDS, Boxes
from hanse.sim.carried import making_of
from hanse.sim.chance import Chance, Draws, chance_of
from hanse.sim.check import Check, Violation, told_of
from hanse.sim.disk import Disk
from hanse.sim.door import threadless
from hanse.sim.environment import settings_under
from hanse.sim.fake import receivers_of
from hanse.sim.files import Files
from hanse.sim.http import Http
from hanse.sim.lane import Lane
from hanse.sim.lines import Lines
from hanse.sim.loop import Loop
from hanse.sim.machine import WALL, Clockwork, Ground, Machine, host_of
from hanse.sim.network import Network
from hanse.sim.observe import observers_of
from hanse.sim.operator import acting
from hanse.sim.profile import Weather
from hanse.sim.setup import CLIENT, Setup, Where, placed
from hanse.sim.trace import Trace
from hanse.sim.trouble import Troubles
from hanse.sim.twin import Medium
from hanse.sim.verdict import Verdict
from hanse.sim.wires import Wires
from hanse.store.base import Batch

T = TypeVar("T")
R = TypeVar("R", bound=Resource)


@final
class World:
    """An app on simulated machines.

    Attributes:
        seconds: How long what is planned goes wrong; stories take it for the length of their work.
        chance: Draws for the story, from the seed.
        machines: By name.
        network: To make the ways between services worse by hand.
        medium: What carries their messages; see `hanse.sim.twin`.
        observers: Who looks on.
        onlookers: Processes of observers, which end with the world.
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
        self.network: Wires = Wires(self.net, lambda service: self._boxes.box(service).name)
        self.medium: Medium = making_of(setup.transport)(self.net, self.trace, seed)
        self.chance: Chance = chance_of(seed, "story")
        self.observers: Audience = Audience()
        self.onlookers: list[Lane] = []
        self._verdict: Verdict = Verdict(loop, self.trace, seed, self.observers)
        self.violations: list[Violation] = self._verdict.violations
        self.reached: set[str] = self._verdict.reached
        self.failed: asyncio.Event = self._verdict.failed
        self._dead: list[Lane] = []
        self._closed = False
        # Those of worlds before this one, in the same loop, are theirs.
        self._errors = len(loop.errors)
        self._settings = setup.settings
        ground = Ground(loop=loop, trace=self.trace, network=self.net, seed=seed, medium=self.medium, died=self.died)
        self.machines: dict[str, Machine] = {
            name: Machine(
                name,
                services,
                setup.app,
                settings_under(setup.settings, setup.environment.get(name, {}), name),
                ground,
                self._disk(name),
            )
            for name, services in placed(setup).items()
        }
        self._boxes = Boxes(setup.app, self.machines, self.medium, self.net)
        self.files: Files = Files(self.machines)
        self.troubles: Troubles = Troubles(ground, self.machines, self.observers.passed, setup.upgrade)
        self._door = setup.door
        self._listens = False
        self.host: Host = host_of(loop.home, chance=(seed, CLIENT, 0), wall=lambda: WALL + loop.now)
        ambient.set(Context(self.host))
        self._transport = self.medium.join(loop.home, NodeSettings())
        self._tasks = Tasks(self._story_broke)
        self._caller = Caller(self._transport, self.host, self._tasks, timeout=setup.settings.node.timeout)
        # What is for processes of their own in production is done in place: nothing runs beside the world's loop.
        self._pool = ExitStack()
        self._pool.enter_context(using_pool(InlinePool()))
        self._lines = Lines(loop, self.trace)
        self.observers.extend(observers_of(self, setup))

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

    @property
    def caller(self) -> Caller:
        """What clients outside of all services call with."""
        return self._caller

    @contextmanager
    def context(self, headers: Headers = NO_HEADERS) -> Generator[Context]:
        """The context of work that comes from outside, as `Node.context`: who asks, and what the story belongs to."""
        context = Context(self.host, headers)
        token = ambient.set(context)
        try:
            yield context
        finally:
            ambient.reset(token)

    def letters(self, service: type[Service]) -> Letters:
        """The dead letters of a service, as an operator has them; see `hanse.node.letters.Letters`."""
        return acting(letters_client(service_name(service), self._caller), self._caller.host)

    def collection(self, kind: type[R]) -> Collection[R]:
        """The collection of a resource, by calls to its owner."""
        return RemoteCollection(kind, rows_client(kind, self._caller))

    def http(self) -> Http:
        """A client of the outside, which comes in by the app's gateway; use it as `async with world.http() as http`.

        Raises:
            Misconfigured: The app has no gateway.
        """
        if self.app.gateway is None:
            raise Misconfigured(
                f"the app {self.app.name!r} has no door; give it one: App({self.app.name!r}, ..., gateway=Gateway())"
            )
        machine = self.machines[self._door or next(iter(self.machines))]
        if not self._listens:
            self._listens = True
            self._pool.enter_context(threadless())
        machine.listen()
        return Http(self.net, self.loop.home, lambda: machine.door)

    def rows(self, kind: type[R], *, of: type[Service] | None = None) -> list[R]:
        """The rows as they stand in the owner's file now, read past all code that they belong to: for checks.

        Args:
            kind: Of the rows.
            of: A service that has a replica of them: those of the copy, in its file.

        Raises:
            Misconfigured: No service owns them, or has that replica; or it keeps them in no file.
        """
        if of is not None:
            return self.files.copied(self._boxes.part(of), kind)
        apps = (self.app,) if self.upgrade is None else (self.app, self.upgrade)
        owner = next((app.owners[kind] for app in apps if kind in app.owners), None)
        if owner is None:
            raise Misconfigured(f"no service of the app {self.app.name!r} owns {kind.__name__}")
        return self.files.rows(owner.name, kind)

    def query(self, service: type, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Read the file of a service with SQL of one's own, past all code that it belongs to.

        Returns:
            The rows; none as long as there is no file.

        Raises:
            Misconfigured: The service keeps its rows in no file.
        """
        file = self.files.of(self._boxes.part(service).name)
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

    def crash(self, service: Where) -> None:
        """Kill the process of a service as by `kill -9`; `restart` starts it again."""
        self._boxes.box(service).kill()

    def power_cut(self, service: Where) -> None:
        """Turn the machine of a service off: what its disk had not flushed is gone. `restart` turns it on again."""
        self._boxes.box(service).kill(dark=True)

    def pause(self, service: Where, duration: Duration) -> None:
        """Have the process of a service stand still for some time."""
        self._boxes.box(service).pause(seconds(duration))

    async def restart(self, service: Where, *, environment: Mapping[str, str] | None = None) -> None:
        """Start the process of a service, where it is down, and wait until it is up.

        Args:
            service: Or the machine.
            environment: The machine's own variables, from now on; by default those that it had.

        Raises:
            Misconfigured: A variable cannot be used; or the process runs, and would not see another environment.
            TimeoutError: It does not come up.
        """
        if environment is not None:
            machine = self.machine_of(service)
            if machine.running:
                raise Misconfigured(
                    f"{machine.name} runs, and would not see another environment; use world.replace, or crash it before"
                )
            self._configure(machine, environment)
        box = self._boxes.box(service)
        box.start()
        await self._boxes.up([box])

    async def replace(
        self, service: Where, app: App | None = None, *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Have the process of a service finish, and another take its place, as a deploy does.

        Args:
            service: Or the machine.
            app: The version of the code that the new process runs; by default the same.
            environment: The machine's own variables, from then on; by default those that it had.

        Raises:
            Misconfigured: A variable cannot be used.
            TimeoutError: It does not come up.
        """
        machine = self.machine_of(service)
        if environment is not None:
            self._configure(machine, environment)
        self._boxes.replace(machine, app)
        await self._boxes.stopped(machine)
        await self.restart(service)

    def fake(self, contract: Callable[..., T], instance: object) -> None:
        """Let an object of the test's answer for a contract; the service that did before is gone, with all it had.

        Raises:
            Misdeclared: It lacks an operation of the contract, or takes other arguments.
            Misconfigured: No service of the app provides it.
        """
        part = self._boxes.part(cast("type", contract))
        receivers = receivers_of(self.app, part, cast("type", contract), instance, self.host)
        for machine in self.machines.values():
            if part.name in machine.services:
                machine.kill()
                machine.retire(part.name)
        for name, receiver in receivers.items():
            self.medium.forget(name)
            self._transport.listen(name, receiver)

    async def settle(self, limit: float = SETTLE_SECONDS) -> None:
        """Wait until every event so far is handled or parked, every rule has run, and what these led to.

        Raises:
            TimeoutError: It did not come to rest within `limit` seconds, or a machine is down.
        """
        await self._boxes.settle(limit)

    def always(self, name: str, check: Check) -> None:
        """Look after commits whether something holds; it may look at `rows` and at what the story knows."""
        self._verdict.always(name, check)

    def eventually(self, name: str, check: Check) -> None:
        """Once the story is over and the world has healed, something has to become true, and to stay so."""
        self._verdict.eventually(name, check)

    def sometimes(self, name: str) -> None:
        """Note that something happened. What the simulation lists must happen in at least one of its seeds."""
        self.reached.add(name)

    # What runs it.

    def machine_of(self, service: Where) -> Machine:
        """The machine that hosts a service, or that which provides a contract; or the machine of a name.

        Raises:
            Misconfigured: There is none, or more than one.
        """
        return self._boxes.machine(service)

    def _configure(self, machine: Machine, environment: Mapping[str, str]) -> None:
        machine.configure(settings_under(self._settings, environment, machine.name))

    async def start(self, weather: Weather) -> None:
        """Bring all machines up, under some weather.

        Args:
            weather: What the network and the disks are like.
        """
        self.net.latency_low, self.net.latency_high = weather.latency_low, weather.latency_high
        self.net.loss, self.net.repeat = weather.loss, weather.repeat
        for appliance in self.medium.appliances.values():
            appliance.start()
        await self._transport.open()
        for machine in self.machines.values():
            draws = Draws(self.seed, "clock", machine.name)
            machine.clockwork = Clockwork(
                skew=draws.between(-weather.skew_max, weather.skew_max),
                drift=draws.between(-weather.drift_max, weather.drift_max),
            )
            machine.disk.low, machine.disk.high = weather.disk_low, weather.disk_high
            machine.start()
        await self.up()
        self.net.heard = self.observers.said
        for observer in self.observers:
            observer.begin()

    async def up(self) -> None:
        """Wait until every machine is up. Raises `TimeoutError`."""
        await self._boxes.up()

    async def heal(self) -> None:
        """Let nothing go wrong any more, and have everything up."""
        self.troubles.end()
        self.net.heal()
        self.trace.add(self.loop.now, "", "heal")
        for box in self._boxes.all:
            box.start()
        await self.up()
        await self._deployed()
        for observer in self.observers:
            observer.healed()

    async def _deployed(self) -> None:
        """End what a plan began: where one process runs the next version, all do, as after any deploy."""
        machines = self.machines.values()
        if self.upgrade is None or all(machine.app is not self.upgrade for machine in machines):
            return
        for machine in machines:
            if machine.app is not self.upgrade:
                self._boxes.replace(machine, self.upgrade)
        await self.up()

    async def conclude(self) -> None:
        """Wait for what has to hold in the end, and have the observers take their last look."""
        await self._verdict.conclude()

    def violate(self, check: str, detail: str) -> None:
        """Something does not hold."""
        self._verdict.violate(check, detail)

    def close(self) -> None:
        """End it: every process dies. Once is enough."""
        if self._closed:
            return
        self._closed = True
        self._pool.close()
        self._lines.close()
        self.troubles.close()
        for box in self._boxes.all:
            box.kill()
            self._dead += box.dead
        for lane in (*self.onlookers, *self.net.lanes):
            lane.kill()
            self._dead.append(lane)
        self.loop.bury(self._dead)
        for machine in self.machines.values():
            machine.disk.close()
        for name, error in self.loop.errors[self._errors :]:
            told = error if isinstance(error, str) else told_of(error)
            self.violate("uncaught", f"{name}: {told}")

    # What is told to observers.

    def committed(
        self, machine: str, path: str, batch: Batch, positions: tuple[int, ...], /, *, acknowledged: bool
    ) -> None:
        """See `hanse.sim.disk.Committed`."""
        if acknowledged:
            self.observers.acknowledged(machine, path, batch, positions)
            return
        self.observers.committed(machine, path, batch, positions)
        self._verdict.committed()

    def died(self, machine: str, /, *, dark: bool) -> None:
        """See `hanse.sim.machine.Died`."""
        if not self._closed:
            for observer in self.observers:
                observer.died(machine, dark=dark)

    def _disk(self, name: str) -> Disk:
        return Disk(self.loop, self.trace, self.seed, name, self.committed)

    def path_of(self, service: str) -> str:
        """The file of a service, by its name; see `Files.path_of`."""
        return self.files.path_of(service)

    def _story_broke(self, error: BaseException) -> None:
        self.violate("story", f"a call that nobody awaited failed: {error}")
