"""Simulated machines: processes that start, stop, are killed anywhere, and find on their disk what they left."""

import asyncio
from typing import Literal

import pytest

from hanse import (
    App,
    Collection,
    CouldNotStart,
    Event,
    Fault,
    Held,
    Lock,
    Misconfigured,
    Replica,
    Resource,
    Saga,
    Service,
    Setup,
    Terminal,
    World,
    current,
    every,
    on,
    policy,
    rpc,
    rule,
    saga,
    simulate,
)
from hanse.delivery.action import Selection
from hanse.kernel.fault_point import POINTS
from hanse.sim.fence import Fenced
from hanse.sim.machine import RESPAWN_SECONDS, Machine
from hanse.sim.plan import KillAt, Plan
from hanse.sim.run import Outcome, run, run_once
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token

POISON = "poison"


class Note(Resource):
    text: str
    status: Literal["new", "done"] = "new"


class Told(Event):
    note_id: str
    text: str


class Counted(Resource):
    times: int


class Ticks(Resource):
    count: int


class Printed(Resource):
    """Is there for as long as it is not undone."""


class Notes(Service):
    notes: Collection[Note]
    ticks: Collection[Ticks]
    printed: Collection[Printed]
    desk: Lock

    @rpc
    async def write(self, id: str, text: str) -> Note:
        note = await self.notes.put(Note(id=id, text=text))
        await self.emit(Told(note_id=id, text=text))
        return note

    @rpc
    @saga
    async def press(self, s: Saga, id: str) -> None:
        await s.step(self._print, id).undo(self._shred)
        raise Terminal("the press is broken")

    async def _print(self, id: str) -> str:
        return (await self.printed.create(Printed(id=id))).id

    async def _shred(self, id: str) -> None:
        await self.printed.delete(id)

    @rpc
    async def clock(self) -> tuple[float, float]:
        host = current().host
        return host.now(), host.monotonic()

    @rpc
    async def draw(self) -> str:
        return current().host.new_id()

    @rule(Note, where=lambda note: note.status == "new", every="5s")
    async def finish(self, note: Held[Note]) -> None:
        await note.patch(status="done")

    @every("2s")
    async def tick(self) -> None:
        async with self.desk.hold("ticks", lease="1s"):
            await self.ticks.put(Ticks(id="ticks", count=1))


class Counter(Service):
    counted: Collection[Counted]
    notes: Replica[Note]

    @on(Told, attempts=2)
    async def hear(self, event: Told) -> None:
        if event.text == POISON:
            raise ValueError(event.text)
        await self.counted.create(Counted(id=event.note_id, times=1))


app = App("notes", Notes, Counter)
setup = Setup(app=app, dead_letters=True)


def tell(story: Story, *, plan: Plan = (), seed: int = 0, of: Setup = setup) -> Outcome:
    simulation = Simulation(name="told", story=story, setup=of, profile="calm", seeds=1, seconds=20.0)
    return run_once(simulation, Token(profile="calm", seed=seed, plan=plan), keep=True)


def kinds(outcome: Outcome, machine: str) -> list[str]:
    wanted = ("start", "ready", "exit", "stop", "stopped", "kill", "dark", "trap", "pause")
    return [effect.kind for effect in outcome.effects if effect.machine == machine and effect.kind in wanted]


# Killed anywhere.


async def insist(notes: Notes, n: int) -> None:
    """Ask under one key until it was done; where the answer to that was lost, it says so."""
    for _ in range(1000):
        try:
            await policy(notes, idempotency_key=f"key-{n}").write(f"{n}", POISON if n == 3 else "text")
            await policy(notes, idempotency_key=f"press-{n}").press(f"{n}")
        except Fault as fault:
            if "was executed" in fault.detail or isinstance(fault, Terminal):
                return
        else:
            return
        await asyncio.sleep(0.3)


async def follow(world: World) -> None:
    """Read the feed, and come back where it breaks."""
    while True:
        try:
            async for _ in world.collection(Note).follow():
                pass
        except Fault:
            await asyncio.sleep(0.3)


async def mend(world: World) -> None:
    """Edit the dead letter, and have it replayed, until it is gone."""
    letters = world.letters(Counter)
    for _ in range(1000):
        try:
            for line in (await letters.find(Selection())).items:
                await letters.edit(line.id, b'{"text": "mended"}', patch=True)
            await letters.replay(Selection())
        except Fault:
            world.sometimes("no answer")
        if len(world.rows(Counted)) == 8:
            return
        await asyncio.sleep(0.5)


async def busy(world: World) -> None:
    """Pass every fault point, some of them often: until all that was asked for has happened, come what may."""
    notes = policy(world.client(Notes), timeout="2s")

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow(world))
        async with asyncio.TaskGroup() as writers:
            for n in range(8):
                writers.create_task(insist(notes, n))
                await asyncio.sleep(0.7)
        await world.replace(Notes, app)
        await world.replace(Counter, app)
        await asyncio.sleep(3)
        await mend(world)
        following.cancel()
    world.eventually("all written", lambda: len(world.rows(Note)) == 8)
    world.eventually("all done", lambda: all(note.status == "done" for note in world.rows(Note)))
    world.eventually("nothing is printed", lambda: world.rows(Printed) == [])
    world.eventually("all counted", lambda: len(world.rows(Counted)) == 8)


@pytest.mark.parametrize("point", sorted(POINTS))
def test_a_process_may_be_killed_at_each_fault_point(point: str) -> None:
    trapped = list[list[str]]()
    for machine in ("notes", "counter"):
        outcome = tell(busy, plan=(KillAt(at=0.5, seconds=30.0, machine=machine, point=point),))
        assert outcome.violations == ()
        found = kinds(outcome, machine)
        if "trap" in found:
            trapped.append(found[found.index("trap") :])
    assert trapped
    assert all(found[:4] == ["trap", "kill", "start", "ready"] for found in trapped)


# Started, stopped, replaced.


def in_world(story: Story, of: App | Setup = setup) -> Outcome:
    """Tell a story, in which all has to hold."""
    outcome = tell(story, of=of if isinstance(of, Setup) else Setup(app=of))
    assert outcome.violations == ()
    return outcome


class Failing(Service):
    """Starts at its third life."""

    async def started(self) -> None:
        # A process's monotonic clock tells which one it is.
        if current().host.monotonic() < 300.0:
            raise CouldNotStart("the moon is in the wrong phase")


class Never(Service):
    async def started(self) -> None:
        raise CouldNotStart("the moon is made of cheese")


class Reaching(Service):
    async def started(self) -> None:
        raise Fenced("open('moon', 'w')", "keep it in a Collection")


def test_a_process_that_cannot_start_is_started_again() -> None:
    async def story(world: World) -> None:
        machine = world.machines["failing"]
        assert machine.lives == 3
        assert world.time == pytest.approx(2 * RESPAWN_SECONDS, abs=0.2)

    told = in_world(story, App("failing", Failing))
    assert kinds(told, "failing")[:6] == ["start", "exit", "start", "exit", "start", "ready"]


def test_a_machine_that_never_starts_says_why() -> None:
    outcome = tell(busy, of=Setup(app=App("never", Never)))
    ((check, detail),) = [(one.check, one.detail) for one in outcome.violations]
    assert check == "start"
    assert detail.startswith("did not start within 120 s: never (")
    assert "made of cheese" in detail


def test_a_process_that_reaches_out_as_it_starts_is_not_started_again() -> None:
    outcome = tell(busy, of=Setup(app=App("reaching", Reaching)))
    assert [one.check for one in outcome.violations] == ["start", "uncaught"]
    assert "reaching (Fenced: open('moon', 'w')" in outcome.violations[0].detail
    assert kinds(outcome, "reaching") == ["start", "exit"]


def test_an_app_that_does_not_fit_together_never_starts() -> None:
    class Lonely(Service):
        notes: Notes

    outcome = tell(busy, of=Setup(app=App("lonely", Lonely)))
    assert "Lonely.notes" in outcome.violations[0].detail


def test_a_process_finishes_and_ends_where_it_is_told_to() -> None:
    async def story(world: World) -> None:
        done = list[str]()
        machine = world.machines["notes"]
        machine.stop(10.0, lambda: done.append("then"))
        machine.stop(10.0, lambda: done.append("not twice"))
        assert machine.state == "stopping"
        await asyncio.sleep(1)
        assert (machine.state, machine.node, done) == ("down", None, ["then"])
        machine.stop(10.0, lambda: done.append("at once"))
        assert done == ["then", "at once"]
        await world.restart(Notes)
        assert machine.lives == 2

    assert kinds(in_world(story), "notes")[:5] == ["start", "ready", "stop", "stopped", "start"]


def test_a_process_that_is_not_up_yet_is_replaced_at_once() -> None:
    async def story(world: World) -> None:
        machine = world.machines["notes"]
        world.crash(Notes)
        machine.start()
        assert machine.state == "starting"
        machine.stop(10.0, machine.start)
        assert (machine.state, machine.lives) == ("starting", 3)

    assert kinds(in_world(story), "notes")[2:7] == ["kill", "start", "kill", "start", "ready"]


def test_a_machine_is_started_once() -> None:
    async def story(world: World) -> None:
        machine = world.machines["notes"]
        machine.start()
        machine.pause(1.0)
        machine.start()
        machine.kill()
        machine.kill()
        machine.pause(1.0)
        machine.kill(dark=True)
        assert machine.lives == 1

    assert kinds(in_world(story), "notes")[:5] == ["start", "ready", "pause", "kill", "start"]


def test_what_a_machine_had_told_is_there_after_each_kind_of_death() -> None:
    async def story(world: World) -> None:
        notes = world.client(Notes)
        for n, die in enumerate((world.crash, world.power_cut)):
            await notes.write(f"{n}", "text")
            die(Notes)
            assert not world.machines["notes"].running
            await world.restart(Notes)
        assert [note.id for note in world.rows(Note)] == ["0", "1"]

    in_world(story)


def test_a_process_that_is_replaced_runs_the_new_version() -> None:
    class NewNotes(Notes, name="notes"):
        async def write(self, id: str, text: str) -> Note:
            return await super().write(id, text.upper())

    async def story(world: World) -> None:
        await world.replace(Notes, App("notes", NewNotes, Counter))
        assert (await world.client(Notes).write("1", "text")).text == "TEXT"
        assert world.machines["counter"].app is app

    in_world(story)


def test_a_paused_machine_answers_when_it_goes_on() -> None:
    async def story(world: World) -> None:
        world.pause(Notes, "3s")
        began = world.time
        await world.client(Notes).write("1", "text")
        assert 3.0 <= world.time - began < 3.1

    in_world(story)


# Clocks and chance.


def clockwork(machine: Machine) -> tuple[float, float]:
    return machine.clockwork.skew, machine.clockwork.drift


def test_each_process_has_clocks_of_its_own() -> None:
    async def main() -> None:
        async with simulate(setup, profile="hostile", seed=3, seconds=0.0) as world:
            notes, machine = policy(world.client(Notes), timeout="60s", retry=True), world.machines["notes"]
            skew, drift = clockwork(machine)
            before, began = await notes.clock(), world.time
            await asyncio.sleep(1000)
            after = await notes.clock()
            passed = world.time - began
            assert (skew, drift) != (0.0, 0.0)
            assert after[0] - before[0] == pytest.approx(passed * (1 + drift), abs=0.5)
            assert after[1] - before[1] == pytest.approx(passed * (1 + drift), abs=0.5)
            assert before[0] == pytest.approx(world.host.now() - passed + skew, abs=0.5)
            world.crash(Notes)
            await world.restart(Notes)
            monotonic = (await notes.clock())[1]
            assert monotonic > 200.0
            assert abs(monotonic - after[1]) > 1.0

    run(main())


def test_a_wall_clock_may_jump_and_the_other_goes_on() -> None:
    async def story(world: World) -> None:
        notes, machine = world.client(Notes), world.machines["notes"]
        before = await notes.clock()
        machine.jump += 3600.0
        after = await notes.clock()
        machine.jump -= 3600.0
        again = await notes.clock()
        assert after[0] - before[0] == pytest.approx(3600.0, abs=0.1)
        assert after[1] - before[1] == pytest.approx(0.0, abs=0.1)
        assert again[0] - before[0] == pytest.approx(0.0, abs=0.1)

    in_world(story)


def test_each_life_draws_anew_and_each_seed_the_same() -> None:
    async def main(seed: int) -> list[str]:
        async with simulate(setup, seed=seed) as world:
            drawn = [await world.client(Notes).draw()]
            world.crash(Notes)
            await world.restart(Notes)
            return [*drawn, await world.client(Notes).draw()]

    ids = [run(main(seed)) for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert len({id[-12:] for drawn in ids for id in drawn}) == 4


# What several services on one machine, or none, come to.


def test_machines_host_what_they_are_given() -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("1", "text")
        await world.settle()
        assert list(world.machines) == ["one"]
        assert [row.id for row in world.rows(Counted)] == ["1"]
        assert world.machine_of(Notes) is world.machine_of(Counter)

    in_world(story, Setup(app=app, machines={"one": [Notes, Counter]}))


@pytest.mark.parametrize(
    ("machines", "why"),
    [
        ({"one": [Notes]}, "no machine hosts counter"),
        ({"one": [Notes, Counter], "two": [Notes]}, "notes is on one and two, but it keeps rows"),
        ({"one": [Notes, Counter, Never]}, "has no service Never; it has Notes, Counter"),
        ({"client": [Notes, Counter]}, "the machine of the story is named 'client'"),
    ],
)
def test_a_setup_has_to_fit_its_app(machines: dict[str, list[type[Service]]], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        tell(busy, of=Setup(app=app, machines=machines))
