"""A system that is supervised and released while everything breaks: processes, the edge, whoever steers, and what is
wanted, which changes at any time. It is steered by the very machines of the platform, in a time of its own."""

from __future__ import annotations

import random  # noqa: TID251 - the type of what draws
from collections.abc import Callable, Iterator

from msgspec.structs import replace

from hanse import App, Resource, Service, World, simulation
from hanse.control.desired import Command, Desired, Probe
from hanse.control.plan import Plan, ab, blue_green, canary, mirror, rolling
from hanse.control.release_set import LIVE_SETS, Member
from hanse.control.released import BASE as FIRST
from hanse.control.rollout import Command as Said, Rollout
from hanse.control.rollout_machine import commanded
from hanse.control.slow_start import WHOLE_WEIGHT
from hanse.control.wishes import restarted, scaled
from hanse.deploy.memory import HOOK
from hanse.kernel.faults import Fault
from hanse.service.collection import Collection
from hanse.sim.setup import Setup

from .decided import Decided
from .door import Door
from .onlooker import SETTLED_SECONDS, Onlooker
from .overdue import Overdue
from .premises import Premises
from .releasing import Releaser
from .steering import LATE_SECONDS, Supervisor

TROUBLED, CALM, AGAIN, DOWN = 90.0, 150.0, 120.0, 60.0
"""Seconds in which things break; in which none does, and whatever nobody has to look at comes right; in which all
does, once somebody has looked; in which all has to end."""

SLOW_SECONDS = 20.0
"""That a process takes to come up at most, in bad times."""

LOOK_SECONDS = 0.5
"""Between two looks at all that is there."""

TROUBLES_PER_SECOND = 0.25
REQUESTS_PER_SECOND = 8.0
PROBE = Probe("/up", interval=2.0, fall=2, startup=40.0)
BASE = {
    "db": Desired("db", Command(("db",)), port=19_000, probe=PROBE, stop_grace=4.0),
    "api": Desired("api", Command(("api",)), 2, needs=("db",), probe=PROBE, stop_grace=4.0),
    "web": Desired("web", Command(("web",)), 3, needs=("api",), probe=PROBE, stop_grace=4.0),
}
FLAWS = ("", "", "", "errors", "crashes", "deaf", "hook fails")


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
        self.premises = onlooker.premises = Premises(chance, onlooker)
        self.door = onlooker.door = Door(self.premises)
        onlooker.needs = {name: one.needs for name, one in BASE.items()}
        onlooker.releases = self._wanted_releases
        onlooker.clock = self.clock
        self.jumped = 0.0
        self.releaser = Releaser()
        self.releaser.written = self._written
        self.overdue = Overdue()
        self.releases = 0
        self.aborted: set[str] = set()
        self.forced: set[str] = set()
        self.ended: dict[str, tuple[float, set[str]]] = {}
        self.requests = 0
        self.troubled = True
        self.supervisor = Supervisor(self.premises, self.door, BASE, self.clock)
        self.supervisor.begin()
        self._note_wishes()

    def clock(self) -> float:
        """The machine's, which stands still while nobody runs, and jumps where it slept."""
        return self.premises.now + self.jumped

    # What goes on

    def run(self, seconds: float) -> None:
        """Let it go on for so long, or until something does not hold."""
        self.premises.run(self.premises.now + seconds, lambda: self.onlooker.over)

    def go_on(self) -> None:
        """Have visitors come, rollouts go on, and somebody look, again and again."""
        self._every(lambda: self.chance.random() * 2.0 / REQUESTS_PER_SECOND, self._visit)
        self._every(lambda: 1.0, self._beat)
        self._every(lambda: LOOK_SECONDS, self._look)
        self._every(lambda: self.chance.random() * 2.0 / TROUBLES_PER_SECOND, self._break)

    def _every(self, pause: Callable[[], float], do: Callable[[], None]) -> None:
        def again() -> None:
            do()
            self.premises.after(pause(), again)

        self.premises.after(pause(), again)

    def _visit(self) -> None:
        self.requests += 1
        self.door.ask(self.requests, self.chance.choice(("api", "web", "web")))

    def _beat(self) -> None:
        if self.supervisor.dead:
            return
        before = {row.id: row.state for row in self.releaser.live}
        self.releaser.beat(self.supervisor)
        for row in self.releaser.rows:
            # Others are judged by what is certain alone, or by whoever looks at them.
            is_judged = row.plan.strategy == "canary" and row.id not in self.forced and row.state != "done"
            (self.onlooker.judged.add if is_judged else self.onlooker.judged.discard)(row.new)
            state = row.held_in if row.state == "held" else row.state
            if state in {"rolling_back", "rolled_back"}:
                _ = self.onlooker.shares.back.setdefault(row.id, self.premises.now)
            if row.id in self.releaser.condemned and row.state in {"deploying", "trying", "stepping", "done"}:
                why = "the judge takes it back"
                self.onlooker.violate("harm", f"{why}, and {row.service} {row.new} is {row.state}")
            bad = row.plan.strategy == "canary" and self.premises.flaws.get(row.new) == "errors"
            if bad and row.id not in self.forced and (row.state == "done" or row.share > row.plan.steps[0].share):
                self.onlooker.violate("harm", f"{row.service} {row.new} fails half of all, and is {row.state}")
            if row.id in before and row.state in {"done", "rolled_back", "refused"}:
                self._over(row)
        self._note_wishes()

    def _written(self, before: Rollout, after: Rollout) -> None:
        Decided(self.onlooker).written(before, after, by_hand=after.id in self.forced)

    def _over(self, row: Rollout) -> None:
        """A rollout has ended: one that went back leaves nothing of what it brought."""
        self.ended[row.service] = (self.premises.now, {row.old, row.new})
        self.onlooker.asked(row.service)
        there = [one for one in self.premises.alive if (one.service, one.release) == (row.service, row.new)]
        left = [one.name for one in there if not one.told_at and one.born > self.onlooker.steered_anew]
        if row.state == "rolled_back" and left:
            self.onlooker.violate("back", f"{row.service} {row.new} is rolled back, and {left[0]} of it runs")
        if row.state == "rolled_back" and self.onlooker.shares.points(row.service, row.new):
            self.onlooker.violate("back", f"{row.service} {row.new} is rolled back, and gets requests")

    def _look(self) -> None:
        self.onlooker.look(LOOK_SECONDS, self._obstacles())
        if not self.supervisor.dead:
            known = {one.process for one in self.supervisor.system.instances if one.is_alive}
            lost = [one.name for one in self.premises.alive if one.name not in known and not one.told_at]
            if lost:
                self.onlooker.violate("known", f"{lost[0]} runs, and nobody knows of it")
        in_the_way = any(self._obstacles()) or self.door.is_away
        if what := self.overdue.look(LOOK_SECONDS, [*self._unshown(), *self._unhooked()], in_the_way=in_the_way):
            self.onlooker.violate("overdue", what)

    def _unshown(self) -> Iterator[str]:
        """Who is there, and the edge does not show; whom it shows, and is not."""
        ports = {server.port for pool in self.door.table.pools for server in pool.servers}
        for one in self.premises.alive:
            if one.service != "db" and self.onlooker.serves(one) and one.port not in ports:
                yield f"{one.name} is there, and the edge does not know of it"
        there = {one.port for one in self.premises.alive}
        for pool in self.door.table.pools:
            for server in pool.servers:
                if server.port not in there:
                    yield f"the edge shows {server.id} of {pool.release} at {server.port}, and nobody is there"

    def _unhooked(self) -> Iterator[str]:
        """Rollouts that wait for a hook which does not run."""
        for row in self.releaser.live:
            if row.state == "preparing" and f"{HOOK}hook-{row.id}" not in self.premises.hooks:
                yield f"{row.service} {row.new} waits for a hook that does not run"

    def _obstacles(self) -> Iterator[str]:
        """What keeps anything from being brought back."""
        premises = self.premises
        if self.supervisor.dead:
            yield "whoever steers is dead"
        if premises.now < premises.late_until + LATE_SECONDS:
            yield "news are late"
        if premises.now < premises.slow_until + SLOW_SECONDS:
            yield "what is started comes up slowly"

    def _wanted_releases(self, service: str) -> set[str]:
        """Those of which something may be started."""
        found = {self.releaser.standing.get(service, (FIRST, 0))[0]}
        for row in self.releaser.live:
            if row.service == service:
                found |= {row.old, row.new}
        at, before = self.ended.get(service, (-1e9, set[str]()))
        return found | before if self.premises.now < at + SETTLED_SECONDS else found

    # What breaks

    def _break(self) -> None:
        if not self.troubled:
            return
        kinds = (self._crash, self._hang, self._kill, self._kill, self._edge, self._slow, self._wish, self._wish)
        more = (self._release, self._release, self._release_set, self._command, self._command, self._sleep)
        rare = (self._blackout, self._reboot)
        self.chance.choice((*kinds, *kinds, *more, *more, *rare))()

    def _crash(self) -> None:
        if alive := self.premises.alive:
            self.premises.crash(self.chance.choice(alive), self.chance.choice((0, 1, -9)))

    def _blackout(self) -> None:
        """All of a service end at once."""
        name = self.chance.choice(tuple(BASE))
        for one in [one for one in self.premises.alive if one.service == name]:
            self.premises.crash(one, -9)

    def _reboot(self) -> None:
        """The machine loses its power: what is left are rows on its disk."""
        self.supervisor.dead = True
        self.premises.power_off()
        self.door.lose(1.0, crash=True)
        self.onlooker.rebooted()
        self._revive()

    def _hang(self) -> None:
        if alive := self.premises.alive:
            one = self.chance.choice(alive)
            one.stubborn = self.chance.random() < 0.5
            self.premises.hang(one, self.chance.choice((3.0, 20.0, 1e9)))

    def _kill(self) -> None:
        """Whoever steers is killed, at once or in the middle of what it is about to say."""
        if self.supervisor.dead:
            return
        draw = self.chance.random()
        if draw < 0.4:
            self.supervisor.dead = True
        else:
            self.supervisor.words_left = self.chance.randrange(1, 7)
            about_to = self._wish if draw < 0.7 else self._release
            about_to()
        supervisor = self.supervisor
        self.premises.after(self.chance.random() * 6.0, lambda: self._revive_after(supervisor))

    def _revive_after(self, killed: Supervisor) -> None:
        if killed is self.supervisor:
            self._revive()

    def _revive(self) -> None:
        self.supervisor.dead = True
        # A word that it was about to say may never have been said.
        self.onlooker.steered_anew = self.premises.now
        self.releaser.forget()
        self.supervisor = Supervisor(self.premises, self.door, BASE, self.clock)
        self.releaser.recall(self.supervisor)
        self.supervisor.begin()
        self._note_wishes()

    def _edge(self) -> None:
        crash, seconds = self.chance.random() < 0.4, self.chance.random() * 8.0
        self.door.lose(seconds, crash=crash)
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
        self.door.away_since, self.door.away_until = (
            self.premises.now,
            max(self.premises.now, self.door.away_until),
        )
        self.onlooker.slept()

    # What is wanted

    def _wish(self) -> None:
        if self.supervisor.dead:
            return
        name, wishes = self.chance.choice(tuple(BASE)), self.supervisor.memory.wishes
        if self.chance.random() < 0.4:
            self.onlooker.asked(name)
            self.supervisor.wish(restarted(wishes, BASE, [name]))
        elif not self._live(name):
            count = self.chance.randrange(0, 2 if BASE[name].port else 5)
            self.onlooker.asked(name)
            self.supervisor.wish(scaled(wishes, BASE, {name: count}))
        self._note_wishes()

    def _note_wishes(self) -> None:
        """Note what is wished for, by what was remembered of it: a wish that its hearer did not outlive is none."""
        for name, one in BASE.items():
            row = self._live(name)
            count = row.instances if row else self._count(name)
            if one.port:
                count = 0  # it has to end before the next one starts
            self.onlooker.wish(name, count)

    def _live(self, service: str) -> Rollout | None:
        """Its rollout, if it is on its way."""
        return next((row for row in self.releaser.live if row.service == service), None)

    def _count(self, service: str) -> int:
        """How many of a service are wished for."""
        return self.supervisor.memory.wishes.instances.get(service, BASE[service].instances)

    def _plan(self, service: str) -> Plan:
        n = self._count(service)
        plans = (canary(n, (5, 50), every=3.0, requests=10, bake=4.0), rolling(n, every=3.0, bake=4.0))
        rare = (ab(n, 30.0, bake=4.0), mirror(n, 50.0, seconds=5.0, bake=4.0))
        return self.chance.choice((*plans, *plans, blue_green(n, bake=4.0), *rare))

    def _new(self, service: str) -> str:
        """A release: one that there was, or another one."""
        known = [row.new for row in self.releaser.rows if row.service == service]
        if known and self.chance.random() < 0.4:
            return self.chance.choice(known)
        self.releases += 1
        new = f"{self.releases + 1}"
        self.premises.flaws[new] = self.chance.choice(FLAWS)
        return new

    def _release(self) -> None:
        name = self.chance.choice(("api", "web"))
        if self.supervisor.dead or not self._count(name):
            return
        new, plan = self._new(name), self._plan(name)
        before = [row for row in self.releaser.rows if (row.service, row.new, row.state) == (name, new, "rolled_back")]
        if self.releaser.release(name, new, plan, self.clock()) and any(
            row.id not in self.aborted | self.releaser.taken_along for row in before
        ):
            self.onlooker.violate("vetoes", f"{name} {new} is released again, and was rolled back for what it did")
        self._note_wishes()

    def _release_set(self) -> None:
        """Both are released as one."""
        if self.supervisor.dead or any(one.state in LIVE_SETS for one in self.releaser.sets):
            return
        if all(map(self._count, ("api", "web"))):
            members = [
                Member(service=name, old="", new=self._new(name), plan=self._plan(name), instances=0, needs=needs)
                for name, needs in (("web", ("api",)), ("api", ()))
            ]
            _ = self.releaser.release_set(members)

    def _command(self) -> None:
        if self.releaser.live and not self.supervisor.dead:
            commands: tuple[Said, ...] = ("pause", "resume", "resume", "abort", "promote")
            self.command(self.chance.choice(commands))

    def command(self, command: Said) -> None:
        """Somebody says what becomes of all that is on its way, as far as that can be said."""
        for row in self.releaser.live:
            try:
                after = commanded(self.releaser.work(row), command, who="ada", at=self.clock())
            except Fault:
                continue
            if command == "promote":
                self.forced.add(row.id)
            self.releaser.write(row, after)
            if after.state == "done":
                self._over(after)
            if after.state == "rolling_back":
                self.aborted.add(row.id)
                _ = self.onlooker.shares.back.setdefault(row.id, self.premises.now)

    # The end

    def heal(self) -> None:
        """Nothing breaks any more."""
        self.troubled = False
        premises = self.premises
        premises.slow_until = premises.late_until = self.door.away_until = 0.0
        for one in premises.alive:
            one.hung_until = 0.0
        if self.supervisor.dead or self.supervisor.words_left >= 0:
            self._revive()
        self.supervisor.again()

    def check_calm(self) -> None:
        """All that nobody has to look at is as it should be, without anybody's help."""
        lost = {one.service for one in self.supervisor.system.instances if one.phase == "crash loop"}
        lost |= {name for name in BASE if not self._count(name)}
        lost |= {name for name, one in BASE.items() if lost.intersection(one.needs)}
        lost |= {name for name, one in BASE.items() if lost.intersection(one.needs)}
        for row in self.releaser.live:
            asked = row.state == "held" or row.plan.strategy not in {"rolling", "blue-green"} or row.release_set
            well = self.premises.flaws.get(row.new) == "" and row.service not in lost
            if not asked and well and row.state != "rolling_back":
                self.onlooker.violate("rollouts", f"{row.service} {row.new} is {row.state} after {CALM:g} s: {row.why}")
        for name in BASE:
            if name not in lost and not self._live(name):
                self._check_there(name)

    def restart(self) -> None:
        """Somebody starts all anew, also what was given up."""
        self.command("abort")
        for name in BASE:
            self.onlooker.asked(name)
        self.supervisor.wish(restarted(self.supervisor.memory.wishes, BASE, []))
        self._note_wishes()

    def check_wishes(self) -> None:
        """All that was wished for is there, and nothing else."""
        if rows := self.releaser.live:
            self.onlooker.violate("wishes", f"{rows[0].service} {rows[0].new} is {rows[0].state}: {rows[0].why}")
        if sets := [one for one in self.releaser.sets if one.state in LIVE_SETS]:
            self.onlooker.violate("wishes", f"a release set is {sets[0].state}: {sets[0].why}")
        for name in BASE:
            self._check_there(name)

    def _check_there(self, name: str) -> None:
        release, wanted = self.releaser.standing.get(name, (FIRST, 0))[0], self._count(name)
        if self.premises.flaws.get(release) in {"crashes", "deaf"}:
            return
        there = [each for each in self.premises.alive if each.service == name]
        well = [each for each in there if each.is_well(self.premises.now) and each.release == release]
        if len(well) != wanted or len(there) != wanted:
            what = sorted((each.name, each.release) for each in there)
            self.onlooker.violate("wishes", f"{wanted} of {name} {release} are wanted, there are {what}")
        servers = [one for pool in self.door.table.pools if pool.service == name for one in pool.servers]
        up = {one.port for one in servers if one.state == "up" and one.weight == WHOLE_WEIGHT}
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
    if not system.onlooker.over:
        system.check_calm()
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
