"""The supervisor: asks the machine what to do, and does it, by way of the keeper and the edge.

Theory of operation: everything that is heard is put into one queue, and taken from it in one place: there the machine
is asked, and what it says is done. What has to outlive this process is remembered by the keeper, before anything is
done that rests on it; so the next supervisor goes on where this one was killed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import final

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Command, Desired, Key
from hanse.control.edge_shown import table_of
from hanse.control.instances import Instance, System
from hanse.control.neighbours import ADDRESS, inner_table
from hanse.control.released import Overlay
from hanse.control.supervisor_heard import observed, recovered
from hanse.control.supervisor_machine import decided, is_met
from hanse.control.supervisor_words import (
    Action,
    Ended,
    Event,
    Idle,
    Launched,
    Look,
    Looked,
    Seen,
    Show,
    Signal,
    Start,
    Watch,
)
from hanse.control.wishes import Wishes, wished
from hanse.deploy.doors import Doors
from hanse.deploy.edge.base import Engine
from hanse.deploy.keeper_link import KeeperLink
from hanse.deploy.keeper_words import (
    Began,
    Forget,
    Gone,
    Greeting,
    Launch,
    Leave,
    News,
    Remember,
    Signalled,
    StopAsked,
)
from hanse.deploy.launching import Launching
from hanse.deploy.memory import HOOK, Memory, hook_ended, hooks_begun_among
from hanse.deploy.prober import looked
from hanse.deploy.project import Plan, Project
from hanse.deploy.starving import Starving
from hanse.deploy.told import told
from hanse.kernel.faults import CouldNotStart, Fault
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

EDGE = "edge@"
"""Begins the names of the edge's processes."""

EDGE_GRACE_SECONDS = 2.0
"""That the edge has to end what is under way, once there is nobody behind it."""


class _Replanned(msgspec.Struct, frozen=True):
    """What should run is something else now."""


@final
class Supervisor:
    """See the module.

    Args of the constructor:
        project: What is run.
        host: Clocks and chance.
        say: Told what people should know.
    """

    def __init__(self, project: Project, host: Host, say: Callable[[str], None]) -> None:
        self._project = project
        self._host = host
        self._say = say
        self._news: asyncio.Queue[Event | _Replanned] = asyncio.Queue()
        self._greeted: asyncio.Future[Greeting] = asyncio.get_running_loop().create_future()
        self._keeper = KeeperLink(self._hear, self._orphaned)
        self._tasks = Tasks(self._failed)
        self._ends: dict[str, asyncio.Future[int]] = {}
        self._remembered = ""
        self._doors = Doors(None, None, lambda _: None, say)
        self._launches = 0
        self._starving = Starving(host)
        self._wake: float | None = None
        self._ready = False
        self._wished: dict[Key, Desired] = {}
        self._wished_of: tuple[Plan | None, Wishes] = (None, Wishes())
        self._shaped: tuple[Plan | None, Mapping[str, Overlay], str] = (None, {}, "")
        self._follows = False
        self.memory: Memory = Memory()
        self._launching = Launching(project, host, lambda: self.memory.ports, self._keep_port)
        self.plan: Plan | None = None
        self._early: list[Gone] = []
        self.orphaned: bool = False

    async def meet(self, link: Callable[[KeeperLink], Awaitable[None]]) -> Greeting:
        """Meet the keeper; what it has.

        Args:
            link: Connects to it.
        """
        await link(self._keeper)
        return await self._greeted

    def take_over(self, greeting: Greeting, plan: Plan) -> None:
        """Go on with what the keeper has.

        Args:
            greeting: What it has said.
            plan: What should run.
        """
        self.plan = plan
        now = self._host.monotonic()
        # Somebody may have asked for the end already.
        down = greeting.stopping or self.memory.wishes.down
        if greeting.memory:
            self.memory = msgspec.json.decode(greeting.memory, type=Memory)
            self._follows = True
            self._say("another supervisor goes on with what runs")
        else:
            self._wish(Wishes(only=self._project.only))
        kept = {one.process: one for one in greeting.kept}
        held = {name: one.pid for name, one in kept.items()}
        self.memory = hooks_begun_among(self.memory, held)
        system, lost = recovered(self.memory.system, held, self.memory.ports, now)
        self.memory = replace(self.memory, system=system)
        known = {one.process for one in system.instances if one.is_alive}
        for event in lost:
            chance = self._host.chance.random()
            self._news.put_nowait(replace(event, draw=chance) if isinstance(event, Ended) else event)
        for name, one in kept.items():
            if one.ended:
                self._hear(Gone(name, one.code, one.tail))
            elif name not in known and not name.startswith((EDGE, HOOK)):
                self._keeper.say(Signalled(name, 9, group=True))
        while self._early:
            self._hear(self._early.pop(0))
        if down:
            self.stop()

    async def run(self, engine: Engine | None, egress: Engine | None = None) -> None:
        """Do what there is to do, until all has ended that was to end.

        Args:
            engine: What stands at the edge.
            egress: What programs of the system ask for each other, at `egress_port`.

        Raises:
            CouldNotStart: The edge cannot be started, and nothing ran yet.
        """
        self._doors = Doors(engine, egress, lambda revision: self._news.put_nowait(Seen(revision)), self._say)
        self._launching.has_egress = egress is not None
        async with self._tasks:
            await self._start_edge()
            _ = self._tasks.start(self._doors.keep(), name="doors")
            self._step()
            # Whatever has ended for good may have left nothing to hear of.
            while not self._is_over():
                await self._wait()
                self._step()
            await self._doors.stop(EDGE_GRACE_SECONDS)

    async def _start_edge(self) -> None:
        try:
            await self._doors.start(inside=bool(self._egress))
        except CouldNotStart as fault:
            if not self._follows:
                raise
            # What runs goes on without, and the edge is tried again with each table.
            self._say(f"edge: {fault}")

    def leave(self, code: int) -> None:
        """Tell the keeper that it is over."""
        self._keeper.say(Leave(code))
        self._keeper.close()

    # What others want

    @property
    def edge(self) -> Doors:
        """Its hold of the edge, and of the egress."""
        return self._doors

    def wish(self, wishes: Wishes) -> None:
        """Have something else run than the settings say."""
        self._wish(wishes)
        self._news.put_nowait(_Replanned())

    def egress_port(self) -> int:
        """Where the egress listens, as long as there is a system: those who ask it were told when they started."""
        return self._launching.egress_port()

    @property
    def app(self) -> str:
        """What the settings name as the app."""
        return "" if self.plan is None else self.plan.settings.app

    def replan(self, plan: Plan) -> None:
        """Have what newer settings say run."""
        self.plan = plan
        self._news.put_nowait(_Replanned())

    def stop(self) -> None:
        """Have all end, in order."""
        self.wish(replace(self.memory.wishes, down=True))

    def remember(self, memory: Memory) -> None:
        """Have the next supervisor know something else."""
        self.memory = memory
        self._remember()

    def run_once(self, process: str, command: Command, service: str) -> None:
        """Start a process that nobody watches but whoever waits for its end; it is logged as the service.

        Args:
            process: Its name.
            command: What starts it.
            service: Its logs are those of this one.

        Raises:
            Misconfigured: A variable of the command stands for another one that is not there.
        """
        assert self.plan is not None
        self._keeper.say(self._launching.once(self.plan, process, command, service))

    def signal_once(self, process: str, number: int) -> None:
        """Send a signal to such a process and all that it has started."""
        self._keeper.say(Signalled(process, number, group=True))

    def _wish(self, wishes: Wishes) -> None:
        self.memory = replace(self.memory, wishes=wishes)

    @property
    def shape(self) -> str:
        """What the doors are to show beside who serves, in letters that differ where that does.

        It is what the settings say of routes and the like, and what releases say of shares.
        """
        assert self.plan is not None
        plan, overlays = self.plan, self.memory.wishes.overlays
        if self._shaped[0] is not plan or self._shaped[1] is not overlays:
            nobody = plan.settings, plan.desired, overlays, (), 0
            tables = msgspec.json.encode((table_of(*nobody), inner_table(*nobody)))
            self._shaped = plan, overlays, blake2b(tables, digest_size=8).hexdigest()
        return self._shaped[2]

    @property
    def desired(self) -> dict[Key, Desired]:
        """What should run, with what was wished for."""
        assert self.plan is not None
        plan, wishes = self._wished_of
        if plan is not self.plan or wishes is not self.memory.wishes:
            self._wished_of = (self.plan, self.memory.wishes)
            there = self.plan.desired
            only = tuple(name for name in self.memory.wishes.only if name in there)
            self._wished = wished(there, replace(self.memory.wishes, only=only))
        return self._wished

    # The loop

    def _is_over(self) -> bool:
        return self.orphaned or (self.memory.wishes.down and not self.memory.system.instances)

    async def _wait(self) -> None:
        """Wait for news, or until the machine wants to be asked."""
        pause = None if self._wake is None else max(0.0, self._wake - self._host.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                event = await self._news.get()
                self._observe(event)
        while not self._news.empty():
            self._observe(self._news.get_nowait())

    def _observe(self, event: Event | _Replanned) -> None:
        if not isinstance(event, _Replanned):
            before = self.memory.system
            after = observed(before, event, self.desired, self._host.monotonic())
            self._know(before, after)

    def _step(self) -> None:
        _ = self._starving.lately()  # so that who was killed long ago says nothing of who ends next
        before = self.memory.system
        slow_start = self.plan.settings.edge.slow_start if self.plan is not None else 0.0
        decision = decided(before, self.desired, self._host.monotonic(), self.shape, slow_start)
        self._wake = decision.wake
        self._know(before, decision.system)
        self._remember()
        for action in decision.actions:
            self._do(action)
        self._tell_ready()

    def _tell_ready(self) -> None:
        """Say once that all is as it should be, until it is not."""
        ready = not self.memory.wishes.down and is_met(self.memory.system, self.desired)
        if ready and not self._ready:
            self._say("all is ready" + (f": {self._doors.url}" if self._doors.url else ""))
        self._ready = ready

    def _know(self, before: System, after: System) -> None:
        self.memory = replace(self.memory, system=after)
        for line in told(before, after, self._host.monotonic()):
            self._say(line)

    def _remember(self) -> None:
        """Have the keeper remember what has changed; when somebody was last looked at is nothing to remember."""
        instances = tuple(
            replace(one, look_at=1.0 if one.look_at else 0.0, looking=False, good=0, bad=0)
            for one in self.memory.system.instances
        )
        memory = replace(self.memory, system=replace(self.memory.system, instances=instances))
        text = msgspec.json.encode(memory).decode()
        if text != self._remembered:
            self._remembered = text
            self._keeper.say(Remember(text))

    def _do(self, action: Action) -> None:
        match action:
            case Start(instance):
                self._start(instance)
            case Signal(process, number, group):
                self._keeper.say(Signalled(process, number, group))
            case Look(process, instance):
                _ = self._tasks.start(self._look(process, instance), name=f"look {process}")
            case Show(revision, serving):
                assert self.plan is not None
                overlays = self.memory.wishes.overlays
                asked = self.plan.settings, self.plan.desired, overlays, serving, revision
                self._doors.show(table_of(*asked), inner_table(*asked) if self._egress else None)
            case Watch(process, instance):
                _ = self._tasks.start(self._watch(process, instance), name=f"watch {process}")

    def _start(self, instance: Instance) -> None:
        assert self.plan is not None
        try:
            order = self._launching.instance(self.plan, instance, self.desired[instance.key])
        except Fault as fault:
            self._news.put_nowait(self._ended(instance.process, None, why=str(fault)))
            return
        # The port that it has is among what the keeper remembers, before it has the instance.
        self._remember()
        self._keeper.say(order)

    @property
    def _egress(self) -> str:
        """URL of the egress; empty where nobody asks it."""
        assert self.plan is not None
        return self._launching.egress(self.plan)

    def _keep_port(self, name: str, port: int) -> None:
        self.memory = replace(self.memory, ports={**self.memory.ports, name: port})

    async def _look(self, process: str, instance: Instance) -> None:
        wanted = self.desired.get(instance.key)
        why = await looked(wanted.probe, ADDRESS, instance.port) if wanted is not None else ""
        self._news.put_nowait(Looked(process, why))

    async def _watch(self, process: str, instance: Instance) -> None:
        seconds = max(0.0, instance.until - self._host.monotonic())
        if await self._doors.idle(instance.name, seconds):
            self._news.put_nowait(Idle(process))

    # The keeper

    def _hear(self, news: News) -> None:
        match news:
            case Greeting():
                self._greeted.set_result(news)
            case Began(process, pid):
                name = process.rpartition(".")[0]
                self._news.put_nowait(Launched(process, pid, self.memory.ports.get(name, 0)))
            case Gone(process) if process.startswith(HOOK) and self.plan is None:
                # What is remembered of it has not been taken over yet, and would go over what it came to.
                self._early.append(news)
            case Gone(process, code, tail, why):
                if process.startswith(HOOK):
                    # Remembered before it is forgotten: what the keeper has not, and nobody remembers, never ran.
                    self.remember(hook_ended(self.memory, process, code, why))
                self._keeper.say(Forget(process))
                if process.startswith(EDGE):
                    self._edge_gone(process, code)
                elif not process.startswith(HOOK):
                    self._news.put_nowait(self._ended(process, code, tail, why))
            case StopAsked():
                self._say("stopping; once more to kill")
                self.stop()

    def _ended(self, process: str, code: int | None, tail: tuple[str, ...] = (), why: str = "") -> Ended:
        return Ended(process, code, tail, self._host.chance.random(), why, starving=self._starving.lately())

    def _orphaned(self) -> None:
        """The keeper has gone. On Linux, so has this process; elsewhere it ends those whom it knows."""
        self.orphaned = True
        for one in self.memory.system.instances:
            if one.is_alive and one.pid:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(one.pid, 9)
        self._news.put_nowait(_Replanned())

    async def launch_edge(self, command: Sequence[str], label: str = "edge") -> _EdgeProcess:
        """Start the edge, or the egress, as a child of the keeper's, so that it outlives this process."""
        assert self.plan is not None
        self._launches += 1
        name = f"{EDGE}{label}.{os.getpid()}.{self._launches}"
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ends[name] = end
        home = self._project.home
        order = Launch(name, tuple(command), str(home.project), self.plan.variables, label, str(home.log_of(label)))
        self._keeper.say(order)
        return _EdgeProcess(end)

    def _edge_gone(self, process: str, code: int | None) -> None:
        end = self._ends.pop(process, None)
        if end is not None and not end.done():
            end.set_result(1 if code is None else code)
        if not self.memory.wishes.down:
            label = process.removeprefix(EDGE).partition(".")[0]
            self._say(f"the {label} has ended; it is started anew")
            self._doors.again()

    def _failed(self, error: BaseException) -> None:
        self._say(f"an unexpected error: {error!r}")


@final
class _EdgeProcess:
    """The edge's process, which is the keeper's child."""

    def __init__(self, end: asyncio.Future[int]) -> None:
        self._end = end

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.shield(self._end)
