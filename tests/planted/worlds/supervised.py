"""A system that is supervised and released while everything breaks: processes, the edge, whoever steers, and what is
wanted, which changes at any time. It is steered by the very machines of the platform, in a time of its own."""

from __future__ import annotations

import random  # noqa: TID251 - the type of what draws
from collections.abc import Callable

from msgspec.structs import replace

from hanse import App, Resource, Service, World, simulation
from hanse.control.desired import Command, Desired, Probe
from hanse.control.plan import blue_green, canary, rolling
from hanse.control.rollout import Command as Said
from hanse.control.rollout_machine import commanded
from hanse.control.wishes import restarted, scaled
from hanse.kernel.faults import Fault
from hanse.service.collection import Collection
from hanse.sim.setup import Setup

from .onlooker import Onlooker
from .premises import Premises
from .steering import Releaser, Supervisor

TROUBLED, CALM, AGAIN, DOWN = 90.0, 60.0, 240.0, 60.0
"""Seconds in which things break; in which none does; in which all has to come right; in which all has to end."""

TROUBLES_PER_SECOND = 0.25
REQUESTS_PER_SECOND = 8.0
PROBE = Probe("/up", interval=2.0, fall=2, startup=40.0)
BASE = {
    "db": Desired("db", Command(("db",)), port=19_000, probe=PROBE, stop_grace=4.0),
    "api": Desired("api", Command(("api",)), 2, needs=("db",), probe=PROBE, stop_grace=4.0),
    "web": Desired("web", Command(("web",)), 3, needs=("api",), probe=PROBE, stop_grace=4.0),
}
FLAWS = ("", "", "", "errors", "crashes", "deaf")


class Nothing(Resource):
    """What the services of a world have to have."""


class Idle(Service):
    nothing: Collection[Nothing]


setup = Setup(app=App("idle", Idle))


class System:
    """One run: what is there, who steers it, and who breaks it."""

    def __init__(self, chance: random.Random, onlooker: Onlooker) -> None:
        self.chance = chance
        self.onlooker = onlooker
        self.premises = Premises(chance, onlooker)
        onlooker.premises = self.premises
        onlooker.needs = {name: one.needs for name, one in BASE.items()}
        self.jumped = 0.0
        self.releaser = Releaser()
        self.releases = 0
        self.aborted: set[str] = set()
        self.requests = 0
        self.troubled = True
        self.supervisor = self._supervisor()
        self.supervisor.begin()
        for name, one in BASE.items():
            onlooker.wish(name, one.instances)

    def clock(self) -> float:
        """The machine's, which stands still while nobody runs, and jumps where it slept."""
        return self.premises.now + self.jumped

    def _supervisor(self) -> Supervisor:
        return Supervisor(self.premises, BASE, self.clock)

    # What goes on

    def run(self, seconds: float) -> None:
        """Let it go on for so long, or until something does not hold."""
        self.premises.run(self.premises.now + seconds, lambda: self.onlooker.over)

    def go_on(self) -> None:
        """Have visitors come, rollouts go on, and somebody look, again and again."""
        self._every(lambda: self.chance.random() * 2.0 / REQUESTS_PER_SECOND, self._visit)
        self._every(lambda: 1.0, self._beat)
        self._every(lambda: 0.5, self._look)
        self._every(lambda: self.chance.random() * 2.0 / TROUBLES_PER_SECOND, self._break)

    def _every(self, pause: Callable[[], float], do: Callable[[], None]) -> None:
        def again() -> None:
            do()
            self.premises.after(pause(), again)

        self.premises.after(pause(), again)

    def _visit(self) -> None:
        self.requests += 1
        self.premises.ask(self.requests, self.chance.choice(("api", "web", "web")))

    def _beat(self) -> None:
        if self.supervisor.dead:
            return
        self.releaser.beat(self.supervisor)
        for row in self.releaser.rows:
            state = row.held_in if row.state == "held" else row.state
            if state in {"rolling_back", "rolled_back"}:
                _ = self.onlooker.back.setdefault(row.id, self.premises.now)
            bad = row.plan.strategy == "canary" and self.premises.flaws.get(row.new) == "errors"
            if bad and (row.state == "done" or row.share > row.plan.steps[0].share):
                self.onlooker.violate("harm", f"{row.service} {row.new} fails half of all, and is {row.state}")

    def _look(self) -> None:
        self.onlooker.look()
        if not self.supervisor.dead:
            known = {one.process for one in self.supervisor.system.instances if one.is_alive}
            lost = [one.name for one in self.premises.alive if one.name not in known and not one.told_at]
            if lost:
                self.onlooker.violate("known", f"{lost[0]} runs, and nobody knows of it")

    # What breaks

    def _break(self) -> None:
        if not self.troubled:
            return
        kinds = (self._crash, self._hang, self._kill, self._kill, self._edge, self._slow, self._wish, self._wish)
        self.chance.choice((*kinds, self._release, self._release, self._command, self._sleep))()

    def _crash(self) -> None:
        if alive := self.premises.alive:
            self.premises.crash(self.chance.choice(alive), self.chance.choice((0, 1, -9)))

    def _hang(self) -> None:
        if alive := self.premises.alive:
            one = self.chance.choice(alive)
            one.stubborn = self.chance.random() < 0.5
            self.premises.hang(one, self.chance.choice((3.0, 20.0, 1e9)))

    def _kill(self) -> None:
        """Whoever steers is killed, at once or in the middle of what it is about to do."""
        if self.supervisor.dead:
            return
        if self.chance.random() < 0.5:
            self.supervisor.dead = True
        else:
            self.supervisor.acts_left = self.chance.randrange(1, 5)
            self._wish()
        self.premises.after(self.chance.random() * 6.0, self._revive)

    def _revive(self) -> None:
        self.supervisor.dead = True
        # A word that it was about to say may never have been said.
        self.onlooker.steered_anew = self.premises.now
        self.releaser.forget()
        self.supervisor = self._supervisor()
        self.supervisor.begin()

    def _edge(self) -> None:
        crash, seconds = self.chance.random() < 0.4, self.chance.random() * 8.0
        self.premises.lose_edge(seconds, crash=crash)
        if crash:
            self.premises.after(seconds + 0.1, self._again)

    def _again(self) -> None:
        self.supervisor.again()

    def _slow(self) -> None:
        until = self.premises.now + self.chance.random() * 20.0
        if self.chance.random() < 0.5:
            self.premises.slow_until = until
        else:
            self.premises.late_until = until

    def _sleep(self) -> None:
        """The machine sleeps, and nobody's clock has stood still."""
        self.jumped += self.chance.choice((0.5, 5.0, 60.0))
        # Whoever waited for the edge has waited long enough, by its clock.
        self.premises.away_since, self.premises.away_until = (
            self.premises.now,
            max(self.premises.now, self.premises.away_until),
        )
        for floor in self.onlooker.floors.values():
            floor.reached = False

    # What is wanted

    def _wish(self) -> None:
        if self.supervisor.dead:
            return
        name, wishes = self.chance.choice(tuple(BASE)), self.supervisor.memory.wishes
        if self.chance.random() < 0.4:
            self.supervisor.wish(restarted(wishes, BASE, [name]))
        elif name not in self._released():
            count = self.chance.randrange(0, 2 if BASE[name].port else 5)
            self.supervisor.wish(scaled(wishes, BASE, {name: count}))
        self._note_wishes()

    def _note_wishes(self) -> None:
        """Note what is wished for, by what was remembered of it: a wish that its hearer did not outlive is none."""
        wishes = self.supervisor.memory.wishes
        for name, one in BASE.items():
            count = one.instances if name in self._released() else wishes.instances.get(name, one.instances)
            if one.port:
                count = 0  # it has to end before the next one starts
            self.onlooker.wish(name, count)

    def _released(self) -> set[str]:
        return {row.service for row in self.releaser.rows}

    def _release(self) -> None:
        name = self.chance.choice(("api", "web"))
        wishes = self.supervisor.memory.wishes
        if self.supervisor.dead or name in wishes.instances:
            return
        known = [row.new for row in self.releaser.rows if row.service == name]
        if known and self.chance.random() < 0.5:
            new = self.chance.choice(known)
        else:
            self.releases += 1
            new = f"{self.releases + 1}"
            self.premises.flaws[new] = self.chance.choice(FLAWS)
        n = BASE[name].instances
        plans = (canary(n, (5, 50), every=3.0, requests=10, bake=4.0), rolling(n, every=3.0, bake=4.0))
        plan = self.chance.choice((*plans, blue_green(n, bake=4.0)))
        before = [row for row in self.releaser.rows if (row.service, row.new, row.state) == (name, new, "rolled_back")]
        if self.releaser.release(name, new, plan, self.clock()) and any(row.id not in self.aborted for row in before):
            self.onlooker.violate("vetoes", f"{name} {new} is released again, and was rolled back for what it did")
        self._note_wishes()

    def _command(self) -> None:
        if self.releaser.live and not self.supervisor.dead:
            commands: tuple[Said, ...] = ("pause", "resume", "abort")
            self.command(self.chance.choice(commands))

    def command(self, command: Said) -> None:
        """Somebody says what becomes of all that is on its way."""
        for row in self.releaser.live:
            try:
                after = commanded(row, command, who="ada", at=self.clock())
            except Fault:
                continue
            self.releaser.write(row, after)
            if after.state == "rolling_back":
                self.aborted.add(row.id)
                _ = self.onlooker.back.setdefault(row.id, self.premises.now)

    # The end

    def heal(self) -> None:
        """Nothing breaks any more."""
        self.troubled = False
        premises = self.premises
        premises.slow_until = premises.late_until = premises.away_until = 0.0
        for one in premises.alive:
            one.hung_until = 0.0
        if self.supervisor.dead or self.supervisor.acts_left >= 0:
            self._revive()
        self.supervisor.again()

    def restart(self) -> None:
        """Somebody starts all anew, also what was given up."""
        self.command("abort")
        self.supervisor.wish(restarted(self.supervisor.memory.wishes, BASE, []))
        self._note_wishes()

    def check_wishes(self) -> None:
        """All that was wished for is there, and nothing else."""
        if rows := self.releaser.live:
            self.onlooker.violate("wishes", f"{rows[0].service} {rows[0].new} is {rows[0].state}: {rows[0].why}")
        wishes = self.supervisor.memory.wishes
        for name, one in BASE.items():
            if self.onlooker.rests_on_flawed(name):
                continue
            overlay = wishes.overlays.get(name)
            release = self.releaser.standing.get(name, ("base", 0))[0]
            wanted = wishes.instances.get(name, one.instances)
            there = [each for each in self.premises.alive if each.service == name]
            well = [each for each in there if each.is_well(self.premises.now) and each.release == release]
            if len(well) != wanted or len(there) != wanted:
                what = sorted((each.name, each.release) for each in there)
                self.onlooker.violate("wishes", f"{wanted} of {name} {release} are wanted, there are {what}, {overlay}")
            up = {s.port for p in self.premises.table.pools if p.service == name for s in p.servers if s.state == "up"}
            if name != "db" and up != {each.port for each in there}:
                self.onlooker.violate("wishes", f"the edge shows {name} at {up}, and not all of {there}")

    def stop(self) -> None:
        """Somebody wants all to end."""
        self.onlooker.stopping = True
        self.supervisor.wish(replace(self.supervisor.memory.wishes, down=True))

    def check_end(self) -> None:
        """Nothing is left."""
        if left := self.premises.alive or self.supervisor.system.instances:
            self.onlooker.violate("stop", f"{len(left)} are left after a stop, such as {left[0]}")


async def story(world: World) -> None:
    """A system in trouble, until it is well again and has been stopped."""
    system = System(world.chance, Onlooker(world.violate))
    system.go_on()
    system.run(TROUBLED)
    system.heal()
    system.run(CALM)
    system.restart()
    system.run(AGAIN)
    if not system.onlooker.over:
        system.check_wishes()
    system.stop()
    system.run(DOWN)
    if not system.onlooker.over:
        system.check_end()
    if system.releaser.rows:
        world.sometimes("something was released")


@simulation(setup, profile="calm", seconds=1.0, seeds=20, sometimes=("something was released",))
async def supervised(world: World) -> None:
    await story(world)
