"""The world in a box: an app on simulated machines, what goes wrong with them, and who looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeVar, cast, final

from hanse.contract.model import Resource
from hanse.kernel.context import Context, ambient
from hanse.kernel.duration import Duration, seconds
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller
from hanse.node.app import App, Part
from hanse.node.hosted import contract_client, rows_client
from hanse.service.collection import Collection
from hanse.service.cpu import using_pool
from hanse.service.pool import InlinePool
from hanse.service.remote import RemoteCollection
from hanse.sim.audience import Audience
from hanse.sim.carried import making_of
from hanse.sim.chance import Chance, Draws, chance_of
from hanse.sim.check import VIOLATIONS_MAX, Check, Violation, addressless, broken, told_of
from hanse.sim.disk import Disk
from hanse.sim.door import threadless
from hanse.sim.environment import settings_under
from hanse.sim.fake import receivers_of
from hanse.sim.files import Files
from hanse.sim.http import Http
from hanse.sim.lane import Lane
from hanse.sim.lines import Lines
from hanse.sim.loop import Loop
from hanse.sim.machine import WALL, Clockwork, Ground, Machine, host_of, until
from hanse.sim.network import Network
from hanse.sim.observe import observers_of
from hanse.sim.profile import Weather
from hanse.sim.setup import CLIENT, Setup, Where, placed
from hanse.sim.trace import Trace
from hanse.sim.trouble import Troubles
from hanse.sim.twin import Appliance, Medium
from hanse.sim.wires import Wires
from hanse.store.base import Batch

T = TypeVar("T")
R = TypeVar("R", bound=Resource)

START_SECONDS = 120.0
"""How long the machines may take to be up."""

SETTLE_SECONDS = 600.0
"""How long a world may take until every cascade is done."""

EVENTUALLY_SECONDS = 300.0
"""How long what has to hold in the end may take to, once the world has healed."""

CHECK_SECONDS = 0.05
"""What always has to hold is looked at so soon after a commit."""

LOOK_SECONDS_MAX = 2.0
"""How long it takes at most from one look at what has to hold in the end to the next."""

OBSERVE_SECONDS = 60.0
"""How long the observers may take in the end to see what there is to see."""

POLL_SECONDS = 0.1
"""How often a world looks whether it has settled."""


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
        self.network: Wires = Wires(self.net, lambda service: self._box(service).name)
        self.medium: Medium = making_of(setup.transport)(self.net, self.trace, seed)
        self.chance: Chance = chance_of(seed, "story")
        self.observers: Audience = Audience()
        self.onlookers: list[Lane] = []
        self.violations: list[Violation] = []
        self.reached: set[str] = set()
        self.failed: asyncio.Event = asyncio.Event()
        self._always: list[tuple[str, Check]] = []
        self._eventually: list[tuple[str, Check]] = []
        self._checking = False
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
        _require_own_names(self.medium.appliances, self.machines)
        self.files: Files = Files(self.machines)
        self.troubles: Troubles = Troubles(ground, self.machines, self.observers.passed, setup.upgrade)
        self._door = setup.door
        self._listens = False
        self.host: Host = host_of(loop.home, chance=(seed, CLIENT, 0), wall=lambda: WALL + loop.now)
        ambient.set(Context(self.host))
        self._transport = self.medium.join(loop.home)
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

    def rows(self, kind: type[R]) -> list[R]:
        """The rows as they stand in the owner's file now, read past all code that they belong to: for checks.

        Raises:
            Misconfigured: No service owns them, or it keeps them in no file.
        """
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
        file = self.files.of(self._part(service).name)
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
        self._box(service).kill()

    def power_cut(self, service: Where) -> None:
        """Turn the machine of a service off: what its disk had not flushed is gone. `restart` turns it on again."""
        self._box(service).kill(dark=True)

    def pause(self, service: Where, duration: Duration) -> None:
        """Have the process of a service stand still for some time."""
        self._box(service).pause(seconds(duration))

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
        box = self._box(service)
        box.start()
        await _require_up([box])

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
        machine.app = app or machine.app
        machine.stop(machine.settings.node.grace, machine.start)
        _ = await until(lambda: machine.state != "stopping", every=POLL_SECONDS, limit=START_SECONDS)
        await self.restart(service)

    def fake(self, contract: Callable[..., T], instance: object) -> None:
        """Let an object of the test's answer for a contract; the service that did before is gone, with all it had.

        Raises:
            Misdeclared: It lacks an operation of the contract, or takes other arguments.
            Misconfigured: No service of the app provides it.
        """
        part = self._part(cast("type", contract))
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
        try:
            async with asyncio.timeout(limit):
                await self._settle()
        except TimeoutError:
            raise TimeoutError(f"the world did not come to rest within {limit:g} s: {self._restless()}") from None

    async def _settle(self) -> None:
        calm = 0
        while calm < 2:  # noqa: PLR2004 - what one look just misses, the next one sees
            _ = await asyncio.gather(*(machine.settled() for machine in self.machines.values()))
            idle = self.medium.idle and all(machine.idle for machine in self.machines.values())
            quiet = idle and not self.net.under_way
            calm = calm + 1 if quiet else 0
            await asyncio.sleep(POLL_SECONDS)

    def _restless(self) -> str:
        """Who keeps a world from its rest."""
        down = [f"{box.name} is {box.state}" for box in self._boxes if not box.up]
        busy = [f"{machine.name} is at work" for machine in self.machines.values() if machine.up and not machine.idle]
        return ", ".join([*down, *busy]) or "events go on and on, or cannot be delivered"

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

    def machine_of(self, service: Where) -> Machine:
        """The machine that hosts a service, or that which provides a contract; or the machine of a name.

        Raises:
            Misconfigured: There is none, or more than one.
        """
        if isinstance(service, str):
            if service not in self.machines:
                raise Misconfigured(f"there is no machine {service!r}; there are {', '.join(self.machines)}")
            return self.machines[service]
        part = self._part(service)
        machines = [machine for machine in self.machines.values() if part.name in machine.services]
        if not machines:
            raise Misconfigured(f"{part.name} is a fake by now, and on no machine")
        if len(machines) > 1:
            names = [machine.name for machine in machines]
            raise Misconfigured(f"{part.name} is on {', '.join(names)}; name the machine: {names[0]!r}")
        return machines[0]

    @property
    def _boxes(self) -> list[Machine | Appliance]:
        """All that can be broken; those first that others need to come up."""
        return [*self.medium.appliances.values(), *self.machines.values()]

    def _box(self, service: Where) -> Machine | Appliance:
        """As `machine_of`; or what the medium has of this name."""
        appliance = self.medium.appliances.get(service) if isinstance(service, str) else None
        return appliance or self.machine_of(service)

    def _configure(self, machine: Machine, environment: Mapping[str, str]) -> None:
        machine.configure(settings_under(self._settings, environment, machine.name))

    def _part(self, service: type) -> Part:
        part = self.app.providers.get(service)
        if part is None:
            raise Misconfigured(f"no service of the app {self.app.name!r} is or provides {service.__name__}")
        return part

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
        await _require_up(self._boxes)

    async def heal(self) -> None:
        """Let nothing go wrong any more, and have everything up."""
        self.troubles.end()
        self.net.heal()
        self.trace.add(self.loop.now, "", "heal")
        for box in self._boxes:
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
                machine.app = self.upgrade
                machine.stop(machine.settings.node.grace, machine.start)
        await self.up()

    async def conclude(self) -> None:
        """Wait for what has to hold in the end, and have the observers take their last look."""
        for name, check in self._eventually:
            if not await self._comes_true(check):
                self.violate(name, broken(check) or "it does not hold for long")
        self._check_always()
        for name, check in self._eventually:
            if (wrong := broken(check)) is not None and not self.violations:
                self.violate(name, f"it came true, and did not stay so: {wrong}")
        idle = [observer.idle for observer in self.observers]
        _ = await until(lambda: all(seen() for seen in idle), every=POLL_SECONDS, limit=OBSERVE_SECONDS)
        for observer in self.observers:
            observer.finish()

    async def _comes_true(self, check: Check) -> bool:
        """Look at odd times, so that nothing which comes and goes in step with the looks is missed for ever."""
        draws, end = Draws(self.seed, "looks"), self.loop.now + EVENTUALLY_SECONDS
        while broken(check) is not None:
            if self.loop.now >= end:
                return False
            await asyncio.sleep(draws.between(0.0, LOOK_SECONDS_MAX))
        return True

    def violate(self, check: str, detail: str) -> None:
        """Something does not hold."""
        detail = addressless(detail)
        self.trace.add(self.loop.now, "", "violation", f"{check}: {detail}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(check, detail, self.loop.now))
        self.failed.set()

    def close(self) -> None:
        """End it: every process dies. Once is enough."""
        if self._closed:
            return
        self._closed = True
        self._pool.close()
        self._lines.close()
        self.troubles.close()
        for box in self._boxes:
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
        if self._always and not self._checking:
            self._checking = True
            _ = self.loop.at(self.loop.now + CHECK_SECONDS, self._check_always)

    def died(self, machine: str, /, *, dark: bool) -> None:
        """See `hanse.sim.machine.Died`."""
        if not self._closed:
            for observer in self.observers:
                observer.died(machine, dark=dark)

    def _check_always(self) -> None:
        self._checking = False
        for name, check in self._always:
            wrong = broken(check)
            if wrong is not None:
                self.violate(name, wrong)

    def _disk(self, name: str) -> Disk:
        return Disk(self.loop, self.trace, self.seed, name, self.committed)

    def path_of(self, service: str) -> str:
        """The file of a service, by its name; see `Files.path_of`."""
        return self.files.path_of(service)

    def _story_broke(self, error: BaseException) -> None:
        self.violate("story", f"a call that nobody awaited failed: {error}")


def _require_own_names(appliances: Iterable[str], machines: Iterable[str]) -> None:
    if taken := {*appliances} & {*machines, CLIENT}:
        raise Misconfigured(f"the transport has a machine {min(taken)!r}, as the app has; rename that of the app")


async def _require_up(boxes: Sequence[Machine | Appliance]) -> None:
    if await until(lambda: all(box.up for box in boxes), every=POLL_SECONDS, limit=START_SECONDS):
        return
    down = [f"{one.name} ({(isinstance(one, Machine) and one.exit) or one.state})" for one in boxes if not one.up]
    raise TimeoutError(f"did not start within {START_SECONDS:g} s: {', '.join(down)}")
