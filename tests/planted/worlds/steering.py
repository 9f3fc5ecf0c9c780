"""Whoever steers premises: a supervisor, which may be killed between any two of its words to the keeper.

What it decides is what the platform decides: nothing is decided here. What it does takes its time, is heard late or
twice, and is remembered by the keeper before anything rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from hanse.control import supervisor_heard, supervisor_machine
from hanse.control.desired import Desired, Key
from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_shown import table_of
from hanse.control.edge_table import Table
from hanse.control.ground import Wanted
from hanse.control.instances import Instance, System
from hanse.control.released import Overlay
from hanse.control.rollout import Came
from hanse.control.sighted import Looks
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
from hanse.deploy import memory as memories
from hanse.deploy.memory import HOOK, Memory, hook_begun, hook_came, hook_ended
from hanse.kernel.settings import ServiceSettings, Settings

from .door import Door
from .premises import PROMPT, Premises, is_hook
from .shared_out import STUCK

LATE_SECONDS = 8.0
"""By which news are late, in bad times."""

SLOW_START_SECONDS = 6.0
"""Until an instance has its whole share."""


class Supervisor:
    """One life of a supervisor; the next one begins with what the keeper has."""

    def __init__(
        self, premises: Premises, door: Door, desired: Mapping[str, Desired], clock: Callable[[], float]
    ) -> None:
        self.premises = premises
        self.door = door
        self.base = desired
        self.clock = clock
        self.dead = False
        self.words_left = -1
        self.memory = Memory()
        self.settings = Settings(
            services={
                name: ServiceSettings(command="x", route=f"/{name}", sticky=name in STUCK)
                for name in desired
                if name != "db"
            }
        )
        self._table: Table | None = None
        self._shaped: tuple[Mapping[str, Overlay], str] = ({}, "")
        self._news: list[Event] = []
        self._busy = False
        self._sleeps = 0
        premises.tell = self._gone
        if premises.memory:
            self.memory = msgspec.json.decode(premises.memory, type=Memory)

    def begin(self) -> None:
        """Go on with what the keeper has."""
        held = self.premises.held
        self.memory = memories.hooks_begun_among(self.memory, held)
        system, lost = supervisor_heard.recovered(self.system, held, self.memory.ports, self.clock())
        self.memory = replace(self.memory, system=system)
        known = {one.process for one in system.instances if one.is_alive}
        for event in lost:
            draw = self.premises.chance.random()
            self._news.append(replace(event, draw=draw) if isinstance(event, Ended) else event)
        for name in held:
            if name in self.premises.ended:
                self._gone(name, self.premises.ended[name])
            elif name not in known and not is_hook(name):
                self.premises.signal(name, 9)
        self.step()

    @property
    def system(self) -> System:
        """What it knows to run."""
        return self.memory.system

    @property
    def desired(self) -> dict[Key, Desired]:
        """What should run."""
        return wished(self.base, self.memory.wishes)

    @property
    def shape(self) -> str:
        """What the edge is to show beside who serves."""
        overlays = self.memory.wishes.overlays
        if self._shaped[0] is not overlays:
            shown = table_of(self.settings, self.base, overlays, (), 0)
            self._shaped = overlays, blake2b(msgspec.json.encode(shown), digest_size=8).hexdigest()
        return self._shaped[1]

    def wish(self, wishes: Wishes) -> None:
        """Have something else run."""
        self.memory = replace(self.memory, wishes=wishes)
        self.step()

    def hear(self, event: Event) -> None:
        """Something was heard."""
        if not self.dead:
            self._news.append(event)
            self.step()

    def step(self) -> None:
        """Take the news, ask the machine, and do what it says; a killed one gets no further."""
        if self._busy or self.dead:
            return
        self._busy = True
        while not self.dead:
            while self._news:
                system = supervisor_heard.observed(self.system, self._news.pop(0), self.desired, self.clock())
                self.memory = replace(self.memory, system=system)
            decision = supervisor_machine.decided(
                self.system, self.desired, self.clock(), self.shape, SLOW_START_SECONDS
            )
            self.memory = replace(self.memory, system=decision.system)
            self._remember()
            for action in decision.actions:
                self._do(action)
            if not self._news:
                self._sleep(decision.wake)
                break
        self._busy = False

    def run_hook(self, name: str, release: str) -> tuple[Came, str]:
        """Run a release hook, once under a name; what it has come to."""
        came = hook_came(self.memory, name)
        if came is None:
            self.memory = hook_begun(self.memory, name)
            self._remember()
            self._say(lambda: self.premises.hook(HOOK + name, release))
        return came or ("waiting", "")

    def end_hook(self, name: str) -> Came:
        """End a release hook that runs; whether it has."""
        came = hook_came(self.memory, name)
        if came is None or came[0] != "waiting":
            return "passed"
        self._say(lambda: self.premises.signal(HOOK + name, 15))
        return "waiting"

    def _sleep(self, until: float | None) -> None:
        """Wake at this moment, and at none that was said before."""
        self._sleeps += 1
        number = self._sleeps
        if until is not None:
            self.premises.after(max(0.001, until - self.clock()), lambda: self._woken(number))

    def _woken(self, number: int) -> None:
        if number == self._sleeps:
            self.step()

    def _say(self, word: Callable[[], object]) -> None:
        """Say a word to the keeper, unless this is where it is killed."""
        if self.words_left > 0:
            self.words_left -= 1
        self.dead = self.dead or self.words_left == 0
        if not self.dead:
            _ = word()

    def _remember(self) -> None:
        instances = tuple(
            replace(one, look_at=1.0 if one.look_at else 0.0, looking=False, good=0, bad=0)
            for one in self.system.instances
        )
        memory = replace(self.memory, system=replace(self.system, instances=instances))
        text = msgspec.json.encode(memory).decode()
        if text != self.premises.memory:
            self._say(lambda: setattr(self.premises, "memory", text))

    def _do(self, action: Action) -> None:
        premises = self.premises
        match action:
            case _ if self.dead:
                pass
            case Start(instance):
                self._start(instance)
            case Signal(process, number):
                self._say(lambda: premises.signal(process, number))
            case Look(process):
                premises.after(premises.chance.random() * 0.1, lambda: self._look(process))
            case Show(revision, serving):
                self._table = table_of(self.settings, self.base, self.memory.wishes.overlays, serving, revision)
                premises.after(premises.chance.random() * PROMPT, self._flush)
            case Watch(process, instance):
                self._watch(process, instance)

    def _start(self, instance: Instance) -> None:
        name, insists = instance.name, self.desired[instance.key].port
        port = insists or self.memory.ports.get(name, 0)
        taken = {one.port for one in self.premises.alive}
        if not port or (port in taken and not insists):
            port = next(number for number in range(20_000, 30_000) if number not in self.memory.ports.values())
        self.memory = replace(self.memory, ports={**self.memory.ports, name: port})
        self._remember()
        self._say(lambda: self._launch(instance, port))

    def _launch(self, instance: Instance, port: int) -> None:
        if self.premises.launch(instance.process, instance.service, instance.release, port):
            self._tell(lambda: Launched(instance.process, 7, self.memory.ports.get(instance.name, 0)))
        else:
            self._tell(lambda: Ended(instance.process, None, (), 0.5, "there is no such program"))

    def _look(self, process: str) -> None:
        one = self.premises.processes.get(process)
        well = one is not None and one.is_well(self.premises.now)
        self.hear(Looked(process, "" if well else "it does not answer"))

    def _watch(self, process: str, instance: Instance) -> None:
        if self.dead or self.clock() >= instance.until:
            return
        if self.premises.in_flight(instance.name):
            self.premises.after(0.1, lambda: self._watch(process, instance))
        else:
            self.hear(Idle(process))

    def _flush(self) -> None:
        if self.dead or self._table is None:
            return
        table = self._table
        if self.door.take(table):
            self._tell(lambda: Seen(table.revision))
        else:
            self.premises.after(0.2, self._flush)

    def again(self) -> None:
        """The edge was started anew."""
        self._flush()

    def _gone(self, name: str, code: int) -> None:
        """The keeper says that a process has ended; it keeps that until it is told that this was heard."""
        draw = self.premises.chance.random()
        self._later(lambda: self._heard_end(name, code, draw))

    def _heard_end(self, name: str, code: int, draw: float) -> None:
        if self.dead:
            return
        if is_hook(name):
            if hook_came(self.memory, name.removeprefix(HOOK)) == ("waiting", ""):
                self.memory = hook_ended(self.memory, name, code, "")
                self._remember()
            self._say(lambda: self.premises.forget(name))
        else:
            self._say(lambda: self.premises.forget(name))
            self.hear(Ended(name, code, (), draw))

    def _tell(self, event: Callable[[], Event]) -> None:
        self._later(lambda: self.hear(event()))

    def _later(self, hear: Callable[[], None]) -> None:
        """News of something: after a moment, and in bad times late or twice."""
        premises, bad = self.premises, self.premises.now < self.premises.late_until
        draw = premises.chance.random()
        premises.after(draw * (LATE_SECONDS if bad else 0.05), hear)
        if bad and draw < 0.3:
            premises.after(LATE_SECONDS, hear)


class Yard:
    """What a supervisor in a world offers to whoever releases: see `hanse.deploy.local_ground.Yard`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def system(self) -> System:
        """All that runs."""
        return self._supervisor.system

    @property
    def services(self) -> Mapping[str, Desired]:
        """What the settings want to run."""
        return self._supervisor.base

    @property
    def overlays(self) -> Mapping[str, Overlay]:
        """What releases want."""
        return self._supervisor.memory.wishes.overlays

    @property
    def in_force(self) -> bool:
        """Whether the edge goes by all that is wanted."""
        system = self.system
        return system.shape == self._supervisor.shape and system.seen >= system.shown

    def overlay(self, service: str, overlay: Overlay) -> None:
        """Have something else run."""
        wishes = self._supervisor.memory.wishes
        self._supervisor.wish(replace(wishes, overlays={**wishes.overlays, service: overlay}))

    async def pairs(self) -> Pairs:
        """Answers to copies."""
        return self._supervisor.door.pairs()

    async def figures(self) -> Figures:
        """What the edge has counted."""
        return self._supervisor.door.figures()

    async def looks(self, service: str) -> Looks:
        """Nobody asks how much memory they take."""
        del service
        return Looks(at=self._supervisor.clock())

    def fits(self, wanted: Wanted) -> tuple[Came, str]:
        """Nobody promises anything."""
        del wanted
        return "passed", ""

    def uncopied(self, service: str) -> str:
        """Requests to anybody can be copied."""
        del service
        return ""

    def once(self, name: str, service: str, directory: str) -> tuple[Came, str]:
        """Run a release hook: that of the release whose files are in this folder."""
        del service
        return self._supervisor.run_hook(name, directory)

    def end_once(self, name: str, service: str) -> Came:
        """End a release hook that nobody waits for any more."""
        del service
        return self._supervisor.end_hook(name)
