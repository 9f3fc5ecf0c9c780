"""One run: the same token does the same, and all that it left is gone."""

import asyncio
import gc
import sys
import weakref

import pytest

from hanse import App, Collection, Event, Fault, Misconfigured, Resource, Service, World, on, rpc, simulation
from hanse.sim.loop import Stuck
from hanse.sim.plan import Kill
from hanse.sim.run import Outcome, run, run_once
from hanse.sim.simulation import simulation_of
from hanse.sim.token import Token


class Note(Resource):
    text: str


class Written(Event):
    id: str


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, id: str) -> Note:
        note = await self.notes.put(Note(id=id, text="text"))
        await self.emit(Written(id=id))
        return note


class Heard(Resource):
    pass


class Ears(Service):
    heard: Collection[Heard]

    @on(Written, attempts=100)
    async def hear(self, event: Written) -> None:
        await self.heard.put(Heard(id=event.id))


app = App("notes", Notes, Ears)


@simulation(app, seconds=20.0)
async def writing(world: World) -> None:
    notes = world.client(Notes)
    async for number in world.arrivals(rate=5.0):
        try:
            await notes.write(f"{number}")
        except Fault:
            world.sometimes("refused")
    world.eventually("all heard", lambda: len(world.rows(Heard)) == len(world.rows(Note)))


@simulation(app, seconds=20.0)
async def losing(world: World) -> None:
    world.eventually("never", lambda: "not yet" if world.rows(Note) == [] else None)


def once(seed: int = 3, *, profile: str = "hostile", **options: bool) -> Outcome:
    return run_once(simulation_of(writing), Token(profile=profile, seed=seed), **options)


def test_a_run_inside_another_loop_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(Misconfigured, match="another one runs here"):
            once()
        with pytest.raises(Misconfigured, match="another one runs here"):
            run(asyncio.sleep(1))

    asyncio.run(main())


def test_one_token_does_one_thing() -> None:
    assert once().hash == once().hash
    assert once(4).hash != once().hash


def test_keeping_what_happens_changes_nothing() -> None:
    kept = once(keep=True)
    assert kept.hash == once().hash
    assert len(kept.effects) > 100
    assert once().effects == ()


def test_what_ran_before_changes_nothing() -> None:
    first = once()
    garbage = [[n] for n in range(10_000)]
    once(5)
    assert once().hash == first.hash
    assert garbage


def test_mixing_the_steps_within_a_process_is_another_run() -> None:
    assert once(shuffle=True).hash == once(shuffle=True).hash != once().hash


def test_an_outcome_tells_what_happened() -> None:
    outcome = once()
    assert outcome.ok
    assert outcome.token == "hostile-3"
    assert outcome.seconds >= 20.0
    assert outcome.wall > 0.0
    assert min(outcome.steps, outcome.packets, outcome.incidents) > 0
    assert sum(outcome.kinds.values()) == outcome.incidents <= len(outcome.plan)
    assert outcome.points["unit.before_commit"] > 0
    assert set(outcome.reached) <= {"refused"}


def test_what_does_not_hold_is_told() -> None:
    outcome = run_once(simulation_of(losing), Token(profile="calm", seed=0))
    assert not outcome.ok
    assert [(one.check, one.detail) for one in outcome.violations] == [("never", "not yet")]
    assert outcome.seconds > 300.0


def test_a_token_has_to_fit() -> None:
    with pytest.raises(Misconfigured, match="keeps incident"):
        run_once(simulation_of(writing), Token(profile="calm", seed=0, kept=1))


def test_a_run_leaves_nothing_behind() -> None:
    machines = list["weakref.ref[object]"]()

    @simulation(app)
    async def remembering(world: World) -> None:
        machines.append(weakref.ref(world.machines["notes"]))
        await world.client(Notes).write("1")

    plan = (Kill(at=0.001, seconds=2.0, machine="notes"), Kill(at=0.5, seconds=2.0, machine="ears"))
    assert run_once(simulation_of(remembering), Token(profile="calm", seed=0, plan=plan)).incidents > 0
    assert [machine() for machine in machines] == [None]


def test_a_run_says_nothing_when_it_is_cleared_away(caplog: pytest.LogCaptureFixture) -> None:
    said = list[object]()
    hook, sys.unraisablehook = sys.unraisablehook, said.append
    try:
        for seed in range(3):
            once(seed)
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert said == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []


# Virtual time for a coroutine.


def test_a_day_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert run(main()) == 86_400.0


def test_what_waits_for_ever_is_told() -> None:
    with pytest.raises(Stuck, match="deadlock"):
        run(asyncio.Event().wait())


def test_what_fails_and_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def fail() -> None:
            raise ValueError("unheard of")

        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1)

    run(main())
    assert [record.getMessage() for record in caplog.records] == ["nobody caught ValueError('unheard of')"]


def test_what_raises_is_raised() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(main())


def test_a_seed_decides_whose_turn_it_is() -> None:
    from hanse.sim.lane import Lane
    from hanse.sim.loop import Loop

    async def main() -> str:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        turns = list[str]()

        async def turn(name: str) -> None:
            turns.append(name)

        for name in "abcdef":
            Lane(loop, name).start(turn(name))
        await asyncio.sleep(1)
        return "".join(turns)

    orders = [run(main(), seed=seed) for seed in range(10)]
    assert len(set(orders)) > 5
    assert run(main(), seed=3) == orders[3]
