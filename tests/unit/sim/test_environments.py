"""A world whose machines differ in their environments, as hosts of a fleet do."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from hanse import (
    App,
    Collection,
    Misconfigured,
    NotFound,
    Overloaded,
    Resource,
    Service,
    Settings,
    Setup,
    World,
    current,
    rpc,
)
from hanse.kernel.settings import NodeSettings, ServiceSettings
from hanse.sim.machine import Machine
from hanse.sim.plan import Kill, Plan, Replace
from hanse.sim.run import Outcome, run_once
from hanse.sim.setup import STORE, placed
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token

Environment = Mapping[str, Mapping[str, str]]

DURABLE = Settings(node=NodeSettings(store=STORE))
CALLS = "HANSE_NODE__CALLS_MAX"
RATE = "HANSE_SERVICES__GREETER__SETTINGS__RATE"


class Note(Resource):
    text: str


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, text: str) -> str:
        await asyncio.sleep(1)
        return (await self.notes.create(Note(text=text))).id


class Greeter(Service):
    rate: int = 1

    @rpc
    async def told(self) -> tuple[str, int]:
        return current().host.name, self.rate


app = App("house", Notes, Greeter)
machines: dict[str, list[type[Service]]] = {"notes": [Notes], "east": [Greeter], "west": [Greeter]}


def tell(story: Story, environment: Environment, *, plan: Plan = (), settings: Settings = DURABLE) -> Outcome:
    setup = Setup(app=app, machines=machines, environment=environment, settings=settings)
    simulation = Simulation(name="told", story=story, setup=setup, profile="calm", seeds=1, seconds=20.0)
    return run_once(simulation, Token(profile="calm", seed=0, plan=plan), keep=True)


def holds(story: Story, environment: Environment, settings: Settings = DURABLE) -> None:
    assert tell(story, environment, settings=settings).violations == ()


async def rates(world: World) -> dict[str, int]:
    """What each of the greeters says, by its machine."""
    return dict([await world.client(Greeter).told() for _ in range(20)])


async def refused(world: World, calls: int) -> int:
    """How many of so many calls at once are too many."""
    notes = world.client(Notes)
    outcomes = await asyncio.gather(*(notes.write(f"{n}") for n in range(calls)), return_exceptions=True)
    return sum(isinstance(outcome, Overloaded) for outcome in outcomes)


# What cannot be.


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"north": {CALLS: "1"}}, r"Setup\(environment=...\) has 'north'; expected names of notes, east, west"),
        ({"east": {CALLS: "few"}}, rf"machine east: node.calls_max \({CALLS}\): expected a whole number, got 'few'"),
        ({"east": {CALLS: "2"}, "west": {"HANSE_NOD__GRACE": "2"}}, r"machine west: nod.grace \(HANSE_NOD__GRACE\)"),
    ],
)
def test_an_environment_that_cannot_be_used_is_told_before_anything_runs(environment: Environment, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        _ = placed(Setup(app=app, machines=machines, environment=environment))


def test_another_environment_that_cannot_be_used_leaves_the_one_that_was() -> None:
    async def story(world: World) -> None:
        world.crash("east")
        with pytest.raises(Misconfigured, match=rf"machine east: node.calls_max \({CALLS}\)"):
            await world.restart("east", environment={CALLS: "few"})
        with pytest.raises(Misconfigured, match=rf"machine east: .*\({RATE}\).*|TAX: expected a setting"):
            await world.replace("east", environment={"TAX": "5"})
        await world.restart("east")
        assert await rates(world) == {"east": 2, "west": 1}

    holds(story, {"east": {RATE: "2"}})


def test_a_process_that_runs_sees_no_other_environment() -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misconfigured, match=r"east runs, and would not see another.*use world.replace"):
            await world.restart("east", environment={RATE: "2"})
        assert await rates(world) == {"east": 1, "west": 1}

    holds(story, {})


def test_a_value_that_a_service_refuses_keeps_its_machine_down() -> None:
    async def story(world: World) -> None:
        world.crash("east")
        with pytest.raises(TimeoutError, match=r"east \(.*rate"):
            await world.restart("east", environment={RATE: "high"})
        assert await rates(world) == {"west": 1}
        await world.restart("east", environment={})

    holds(story, {})


# Each its own.


def test_each_machine_has_an_environment_of_its_own() -> None:
    async def story(world: World) -> None:
        assert await rates(world) == {"east": 2, "west": 3}
        assert world.machines["east"].settings.node.release == "2"
        assert world.machines["west"].settings.node.release == "1"

    shared = Settings(
        node=NodeSettings(store=STORE, release="1"), services={"greeter": ServiceSettings(settings={"rate": 3})}
    )
    holds(story, {"east": {RATE: "2", "HANSE_RELEASE": "2"}}, settings=shared)


def test_a_limit_holds_on_the_machine_that_has_it() -> None:
    async def story(world: World) -> None:
        assert await refused(world, 5) == 3
        await world.replace(Notes, environment={CALLS: "4"})
        assert await refused(world, 5) == 1
        await world.replace(Notes, environment={})
        assert await refused(world, 5) == 0

    holds(story, {"notes": {CALLS: "2"}})


def test_what_is_shared_may_be_less_than_what_a_machine_has() -> None:
    async def story(world: World) -> None:
        assert await refused(world, 5) == 0

    holds(story, {"notes": {CALLS: "5"}}, settings=Settings(node=NodeSettings(store=STORE, calls_max=1)))


def test_a_replaced_process_has_as_long_to_finish_as_its_machine_says() -> None:
    async def story(world: World) -> None:
        began = world.time
        async with asyncio.TaskGroup() as group:
            group.create_task(refused(world, 1))
            await asyncio.sleep(0.1)
            await world.replace(Notes)
            assert world.time - began == pytest.approx(0.6, abs=0.2)

    holds(story, {"notes": {"HANSE_NODE__GRACE": "0.5"}})


PROBE = """
from hanse import App, Service, Setup, simulate
from hanse.sim.run import run

class Alone(Service): ...

async def main():
    async with simulate(Setup(app=App("alone", Alone), environment={"alone": {"HANSE_RELEASE": "2"}})) as world:
        settings = world.machines["alone"].settings
        print(settings.node.release, settings.node.calls_max, settings.node.store, repr(settings.environment))

run(main())
"""


def test_nothing_of_the_real_environment_gets_in() -> None:
    leaks = {"DATABASE_URL": "memory:", CALLS: "1", "HANSE_ENV": "nowhere", "HANSE_RELEASE": "9"}
    command, environ = [sys.executable, "-c", PROBE], {**os.environ, **leaks}
    printed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    assert printed == f"2 1000 {STORE} ''\n"


# Where the rows are.


def files_of(machine: Machine) -> list[str]:
    return sorted(machine.disk.files)


def test_a_machine_may_keep_its_rows_elsewhere() -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a")
        assert [note.text for note in world.rows(Note)] == ["a"]
        assert world.query(Notes, "SELECT count(*) FROM log") == [(1,)]
        assert files_of(world.machines["notes"]) == ["/fast/notes.db"]
        assert files_of(world.machines["east"]) == ["greeter.db"]

    holds(story, {"notes": {"DATABASE_URL": "sqlite:////fast/{service}.db?synchronous=full"}})


def test_a_machine_may_keep_its_rows_in_memory() -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a")
        with pytest.raises(Misconfigured, match="notes keeps its rows in memory"):
            world.rows(Note)

    holds(story, {"notes": {"HANSE_SERVICES__NOTES__STORE": "memory:"}})


def test_a_changed_variable_may_lose_all_rows_and_observers_tell() -> None:
    async def story(world: World) -> None:
        id = await world.client(Notes).write("a")
        await world.replace(Notes, environment={"DATABASE_URL": "sqlite:///new.db?synchronous=full"})
        assert files_of(world.machines["notes"]) == ["new-notes.db", "notes.db"]
        assert world.rows(Note) == []
        with pytest.raises(NotFound):
            _ = await world.collection(Note).get(id)

    outcome = tell(story, {})
    assert "linearizable" in {one.check for one in outcome.violations}


@pytest.mark.parametrize(
    "plan", [(Kill(at=1.0, seconds=1.0, machine="east"),), (Replace(at=1.0, seconds=1.0, machine="east"),)]
)
def test_a_machine_keeps_its_environment_over_what_befalls_it(plan: Plan) -> None:
    async def story(world: World) -> None:
        await asyncio.sleep(5)
        assert world.machines["east"].lives == 2
        assert await rates(world) == {"east": 2, "west": 1}

    assert tell(story, {"east": {RATE: "2"}}, plan=plan).violations == ()
