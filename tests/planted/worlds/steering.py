"""Those who steer premises: a supervisor and whoever releases, which may be killed between any two of their acts.

What they decide is what the platform decides: nothing is decided here. What they do takes its time, is heard late or
twice, and is remembered by the keeper before anything rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Desired, Key
from hanse.control.edge_shown import table_of
from hanse.control.edge_table import WHOLE, Table
from hanse.control.ground import wanted_of
from hanse.control.instances import Instance, System
from hanse.control.judged import Judgement, Tally, judgement_of, looked, window_between
from hanse.control.plan import Plan
from hanse.control.released import BASE, Overlay, overlay_for, shape_of
from hanse.control.releases import is_news, judged_by, seen_of
from hanse.control.rollout import ENDED, Rollout
from hanse.control.rollout_machine import beat, begun
from hanse.control.sighted import Looks, sight_of, tally_of
from hanse.control.supervisor_machine import decided, observed, recovered
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
from hanse.kernel.settings import ServiceSettings, Settings

from .premises import PROMPT, Premises

LATE_SECONDS = 8.0
"""By which news are late, in bad times."""

SETTLE_SECONDS = 10.0
"""Between two words of what should run of a service that is not on its way."""


class Memory(msgspec.Struct, frozen=True):
    """What the keeper remembers."""

    system: System = System()
    wishes: Wishes = Wishes()
    ports: dict[str, int] = {}


class Supervisor:
    """One life of a supervisor; the next one begins with what the keeper has."""

    def __init__(self, premises: Premises, desired: Mapping[str, Desired], clock: Callable[[], float]) -> None:
        self.premises = premises
        self.base = desired
        self.clock = clock
        self.dead = False
        self.acts_left = -1
        self.memory = Memory()
        self.settings = Settings(
            services={name: ServiceSettings(command="x", route=f"/{name}") for name in desired if name != "db"}
        )
        self._table: Table | None = None
        self._news: list[Event] = []
        self._busy = False
        self._sleeps = 0
        premises.tell = self._gone

    def begin(self) -> None:
        """Go on with what the keeper has."""
        if self.premises.memory:
            self.memory = msgspec.json.decode(self.premises.memory, type=Memory)
        held = {one.name: 7 for one in self.premises.processes.values() if one.alive or one.name in self.premises.ended}
        system, lost = recovered(self.memory.system, held, self.memory.ports, self.clock())
        self.memory = replace(self.memory, system=system)
        known = {one.process for one in system.instances if one.is_alive}
        for event in lost:
            draw = self.premises.chance.random()
            self._news.append(replace(event, draw=draw) if isinstance(event, Ended) else event)
        for name in held:
            if name in self.premises.ended:
                self._gone(name, self.premises.ended[name])
            elif name not in known:
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
                system = observed(self.system, self._news.pop(0), self.desired, self.clock())
                self.memory = replace(self.memory, system=system)
            decision = decided(self.system, self.desired, self.clock(), shape_of(self.memory.wishes.overlays))
            self.memory = replace(self.memory, system=decision.system)
            self._remember()
            for action in decision.actions:
                if self._dies():
                    return
                self._do(action)
            if not self._news:
                self._sleep(decision.wake)
                break
        self._busy = False

    def _sleep(self, until: float | None) -> None:
        """Wake at this moment, and at none that was said before."""
        self._sleeps += 1
        number = self._sleeps
        if until is not None:
            self.premises.after(max(0.001, until - self.clock()), lambda: self._woken(number))

    def _woken(self, number: int) -> None:
        if number == self._sleeps:
            self.step()

    def _dies(self) -> bool:
        if self.acts_left > 0:
            self.acts_left -= 1
        self.dead = self.dead or self.acts_left == 0
        return self.dead

    def _remember(self) -> None:
        instances = tuple(
            replace(one, look_at=1.0 if one.look_at else 0.0, looking=False, good=0, bad=0)
            for one in self.system.instances
        )
        memory = replace(self.memory, system=replace(self.system, instances=instances))
        self.premises.memory = msgspec.json.encode(memory).decode()

    def _do(self, action: Action) -> None:
        premises = self.premises
        match action:
            case Start(instance):
                self._start(instance)
            case Signal(process, number):
                premises.signal(process, number)
            case Look(process):
                premises.after(premises.chance.random() * 0.1, lambda: self._look(process))
            case Show(revision, serving):
                self._table = table_of(self.settings, self.base, self.memory.wishes.overlays, serving, revision)
                premises.after(premises.chance.random() * PROMPT, self._flush)
            case Watch(process, instance):
                self._watch(process, instance)

    def _start(self, instance: Instance) -> None:
        name = instance.name
        port = self.desired[instance.key].port or self.memory.ports.get(name, 0)
        taken = {one.port for one in self.premises.alive}
        if not port or (port in taken and not self.desired[instance.key].port):
            port = next(number for number in range(20_000, 30_000) if number not in self.memory.ports.values())
        self.memory = replace(self.memory, ports={**self.memory.ports, name: port})
        self._remember()
        if self.premises.launch(instance.process, instance.service, instance.release, port):
            self._tell(lambda: Launched(instance.process, 7, self.memory.ports.get(name, 0)))
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
        if self.premises.take(table):
            self._tell(lambda: Seen(table.revision))
        else:
            self.premises.after(0.2, self._flush)

    def again(self) -> None:
        """The edge was started anew."""
        self._flush()

    def _gone(self, name: str, code: int) -> None:
        self._tell(lambda: Ended(name, code, (), self.premises.chance.random()))

    def _tell(self, event: Callable[[], Event]) -> None:
        """News of something: after a moment, and in bad times late or twice."""
        premises, bad = self.premises, self.premises.now < self.premises.late_until
        draw = premises.chance.random()
        premises.after(draw * (LATE_SECONDS if bad else 0.05), lambda: self.hear(event()))
        if bad and draw < 0.3:
            premises.after(LATE_SECONDS, lambda: self.hear(event()))


class Releaser:
    """Takes rollouts from beat to beat; its rows outlive it."""

    def __init__(self) -> None:
        self.rows: list[Rollout] = []
        self.standing: dict[str, tuple[str, int]] = {}
        self.vetoes: set[tuple[str, str]] = set()
        self._judgements: dict[str, Judgement] = {}
        self._positions = 0
        self.forget()

    def forget(self) -> None:
        """It was killed."""
        self._looked: dict[str, float] = {}
        self._tallies: dict[str, Tally] = {}
        self._working: dict[str, Rollout] = {}

    @property
    def live(self) -> list[Rollout]:
        """Those that are on their way."""
        return [row for row in self.rows if row.state not in ENDED]

    def release(self, service: str, new: str, plan: Plan, now: float) -> bool:
        """Begin one; whether that may be."""
        old = self.standing.get(service, (BASE, 0))[0]
        if (service, new) in self.vetoes or old == new or any(row.service == service for row in self.live):
            return False
        count = plan.steps[-1].new
        row = Rollout(
            id=f"r{len(self.rows)}", service=service, old=old, new=new, plan=plan, instances=count, old_count=count
        )
        self.rows.append(row)
        self.write(row, begun(row, at=now))
        return True

    def write(self, before: Rollout, after: Rollout) -> None:
        """Keep a row, and what goes with its end."""
        self._positions += 1
        after = replace(after, rev=self._positions)
        self.rows = [after if row.id == before.id else row for row in self.rows]
        self._working.pop(before.id, None)
        if after.state in ENDED:
            release = after.new if after.state == "done" else after.old
            self.standing[after.service] = (release, self._positions)
            if after.state == "rolled_back" and after.blamed:
                self.vetoes.add((after.service, after.new))

    def beat(self, supervisor: Supervisor) -> None:
        """One beat of all that is on its way; what is not runs as it stands."""
        for row in self.live:
            self._beat(self._working.get(row.id, row), row, supervisor)
        busy = {row.service for row in self.live}
        for service, (release, position) in self.standing.items():
            if service not in busy:
                _want(supervisor, service, Overlay(release, position=position))

    def _beat(self, row: Rollout, kept: Rollout, supervisor: Supervisor) -> None:
        wanted = wanted_of(row)
        overlay = overlay_for(wanted)
        _want(supervisor, row.service, overlay)
        if supervisor.dead:
            return
        system, overlays = supervisor.system, supervisor.memory.wishes.overlays
        in_force = (
            system.shape == shape_of(overlays) and system.seen >= system.shown and overlays.get(row.service) == overlay
        )
        tally = tally_of(supervisor.premises.figures(), wanted, system, {}, Looks())
        sight = sight_of(wanted, system, tally, in_force=in_force, came="passed")
        now = supervisor.clock()
        seconds = now - self._looked.get(row.id, now)
        self._looked[row.id] = now
        known = self._judgements.get(row.id) or judgement_of(row.id)
        window = window_between(self._tallies.get(row.id), tally, row.lived)
        self._tallies[row.id] = tally
        known, verdict = looked(known, window, row.step, row.plan, alone=sight.share == WHOLE)
        self._judgements[row.id] = known
        after = beat(row, judged_by(seen_of(sight, row, in_force=True, seconds=seconds, at=now), verdict))
        if is_news(kept, after):
            self.write(row, after)
        else:
            self._working[row.id] = after


def _want(supervisor: Supervisor, service: str, overlay: Overlay) -> None:
    wishes = supervisor.memory.wishes
    known = wishes.overlays.get(service)
    if known is None or (overlay.position >= known.position and overlay != known):
        supervisor.wish(replace(wishes, overlays={**wishes.overlays, service: overlay}))
