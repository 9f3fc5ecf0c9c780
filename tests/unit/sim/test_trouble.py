"""Incidents happen when they are planned, do what they say, and are over when their time is over."""

import asyncio
from collections.abc import Callable

import pytest

from hanse import App, Collection, Fault, Resource, Service, Setup, World, policy, rpc
from hanse.sim.plan import (
    Clock,
    Cut,
    Delay,
    FullDisk,
    Incident,
    Kill,
    KillAt,
    Loss,
    LostFlush,
    Pause,
    PowerLoss,
    Repeat,
    Replace,
    SlowDisk,
)
from hanse.sim.run import Outcome, run_once
from hanse.sim.simulation import Simulation
from hanse.sim.token import Token

AT, SECONDS, END = 5.0, 4.0, 9.0


class Box(Resource):
    text: str


class Boxes(Service):
    boxes: Collection[Box]

    @rpc
    async def put(self, id: str, text: str) -> Box:
        return await self.boxes.put(Box(id=id, text=text))


class NewBoxes(Boxes, name="boxes"):
    @rpc
    async def version(self) -> int:
        return 2


class Other(Service):
    @rpc
    async def nothing(self) -> None: ...


app, upgrade = App("boxes", Boxes, Other), App("boxes", NewBoxes, Other)

Look = Callable[[World], object]


def watch(incident: Incident, look: Look, *, seed: int = 0) -> tuple[dict[float, object], Outcome]:
    """What is seen of a world before, during and after an incident."""
    seen: dict[float, object] = {}

    async def story(world: World) -> None:
        began = world.time
        for moment in (4.9, 5.5, 8.9, 9.1, 12.0):
            await asyncio.sleep(began + moment - world.time)
            seen[moment] = look(world)

    setup = Setup(app=app, upgrade=upgrade)
    simulation = Simulation(name="watched", story=story, setup=setup, profile="calm", seeds=1, seconds=20.0)
    outcome = run_once(simulation, Token(profile="calm", seed=seed, plan=(incident,)), keep=True)
    return seen, outcome


def state(world: World) -> object:
    return world.machines["boxes"].state


@pytest.mark.parametrize(
    ("incident", "dark"),
    [
        (Kill(at=AT, seconds=SECONDS, machine="boxes"), False),
        (PowerLoss(at=AT, seconds=SECONDS, machine="boxes"), True),
    ],
)
def test_a_process_is_down_for_a_while(incident: Incident, *, dark: bool) -> None:
    seen, outcome = watch(incident, lambda world: (state(world), world.machines["boxes"].disk.boot()))
    before, after = "boxes-0", "boxes-1" if dark else "boxes-0"
    assert [seen[4.9], seen[5.5], seen[8.9], seen[9.1]] == [
        ("up", before),
        ("down", after),
        ("down", after),
        ("up", after),
    ]
    assert outcome.violations == ()
    assert outcome.incidents == 1


def test_a_disk_lies_and_then_the_power_goes_for_a_second() -> None:
    incident = LostFlush(at=AT, seconds=SECONDS, machine="boxes")
    seen, _ = watch(incident, lambda world: (state(world), world.machines["boxes"].disk.lying))
    assert list(seen.values()) == [("up", False), ("up", True), ("up", True), ("down", False), ("up", False)]


def test_a_disk_is_slow_for_a_while() -> None:
    incident = SlowDisk(at=AT, seconds=SECONDS, machine="boxes", factor=50.0)
    seen, _ = watch(incident, lambda world: world.machines["boxes"].disk.factor)
    assert list(seen.values()) == [1.0, 50.0, 50.0, 1.0, 1.0]


def test_what_is_wrong_twice_is_right_when_both_are_over() -> None:
    incidents: tuple[Incident, ...] = (
        SlowDisk(at=1.0, seconds=3.0, machine="boxes", factor=8.0),
        SlowDisk(at=2.0, seconds=4.0, machine="boxes", factor=4.0),
        FullDisk(at=1.0, seconds=3.0, machine="boxes"),
        FullDisk(at=2.0, seconds=4.0, machine="boxes"),
    )
    seen: list[tuple[float, bool]] = []

    async def story(world: World) -> None:
        disk, began = world.machines["boxes"].disk, world.time
        for moment in (1.5, 3.0, 5.0, 7.0):
            await asyncio.sleep(began + moment - world.time)
            try:
                await policy(world.client(Boxes), retry=False).put("1", "x" * int(10_000 * moment))
            except Fault:
                seen.append((disk.factor, False))
            else:
                seen.append((disk.factor, True))

    simulation = Simulation(name="told", story=story, setup=Setup(app=app), profile="calm", seeds=1, seconds=20.0)
    assert run_once(simulation, Token(profile="calm", seed=0, plan=incidents)).violations == ()
    assert seen == [(8.0, False), (32.0, False), (4.0, False), (1.0, True)]


def test_a_clock_is_wrong_for_a_while() -> None:
    incident = Clock(at=AT, seconds=SECONDS, machine="boxes", jump=-60.0)
    seen, _ = watch(incident, lambda world: round(world.machines["boxes"].wall() - world.machines["other"].wall(), 6))
    assert list(seen.values()) == [0.0, -60.0, -60.0, 0.0, 0.0]


def test_a_process_stands_still_for_a_while() -> None:
    incident = Pause(at=AT, seconds=SECONDS, machine="boxes")

    def paused(world: World) -> object:
        lane = world.machines["boxes"].lane
        return lane is not None and lane.paused_until > world.time

    seen, _ = watch(incident, paused)
    assert list(seen.values()) == [False, True, True, False, False]


def test_a_process_makes_room_for_the_next_version() -> None:
    incident = Replace(at=AT, seconds=SECONDS, machine="boxes")
    seen, outcome = watch(
        incident, lambda world: (world.machines["boxes"].app.services[0], world.machines["boxes"].lives)
    )
    assert list(seen.values()) == [(Boxes, 1)] + 4 * [(NewBoxes, 2)]
    assert outcome.violations == ()


def links(world: World) -> object:
    def told(one: str, other: str) -> tuple[int, float, float, float]:
        link = world.net.link(one, other)
        return link.cuts, link.delay, link.loss, link.repeat

    return told("boxes", "other"), told("other", "boxes"), told("client", "boxes"), told("other", "client")


NONE = (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("incident", "during"),
    [
        (
            Cut(at=AT, seconds=SECONDS, machines=("boxes",), others=("other", "client")),
            ((1, 0.0, 0.0, 0.0), (1, 0.0, 0.0, 0.0), (1, 0.0, 0.0, 0.0), NONE),
        ),
        (
            Cut(at=AT, seconds=SECONDS, machines=("boxes",), others=("other", "client"), one_way=True),
            ((1, 0.0, 0.0, 0.0), NONE, NONE, NONE),
        ),
        (
            Delay(at=AT, seconds=SECONDS, machine="boxes", most=0.5),
            ((0, 0.5, 0.0, 0.0), (0, 0.5, 0.0, 0.0), (0, 0.5, 0.0, 0.0), NONE),
        ),
        (
            Loss(at=AT, seconds=SECONDS, machine="boxes", share=0.5),
            ((0, 0.0, 0.5, 0.0), (0, 0.0, 0.5, 0.0), (0, 0.0, 0.5, 0.0), NONE),
        ),
        (
            Repeat(at=AT, seconds=SECONDS, machine="boxes", share=0.5),
            ((0, 0.0, 0.0, 0.5), (0, 0.0, 0.0, 0.5), (0, 0.0, 0.0, 0.5), NONE),
        ),
    ],
)
def test_the_network_is_worse_for_a_while(incident: Incident, during: object) -> None:
    seen, outcome = watch(incident, links)
    none = (NONE, NONE, NONE, NONE)
    assert list(seen.values()) == [none, during, during, none, none]
    assert outcome.violations == ()


def test_what_befalls_a_machine_that_is_not_there_changes_nothing() -> None:
    seen, outcome = watch(Kill(at=AT, seconds=SECONDS, machine="gone"), state)
    assert set(seen.values()) == {"up"}
    assert outcome.incidents == 1


def story_of_writing(written: list[str]) -> Callable[[World], object]:
    async def story(world: World) -> None:
        boxes = policy(world.client(Boxes), timeout="1s", retry=False)
        for n in range(20):
            try:
                written.append((await boxes.put(f"{n}", "x" * 3000)).id)
            except Fault:
                written.append("refused")
            await asyncio.sleep(0.5)

    return story


def told(incidents: tuple[Incident, ...], written: list[str]) -> Outcome:
    story = story_of_writing(written)
    setup = Setup(app=app)
    simulation = Simulation(name="told", story=story, setup=setup, profile="calm", seeds=1, seconds=20.0)  # type: ignore[arg-type]
    return run_once(simulation, Token(profile="calm", seed=0, plan=incidents), keep=True)


def test_a_full_disk_refuses_for_a_while() -> None:
    written = list[str]()
    outcome = told((FullDisk(at=2.0, seconds=4.0, machine="boxes"),), written)
    assert outcome.violations == ()
    assert 3 <= written.count("refused") <= 9
    assert written[0] == "0"
    assert written[-1] == "19"


def test_a_trap_waits_for_its_time_and_is_gone_with_it() -> None:
    written = list[str]()
    incidents: tuple[Incident, ...] = (
        KillAt(at=2.0, seconds=0.01, machine="boxes", point="unit.before_commit"),
        KillAt(at=4.0, seconds=3.0, machine="boxes", point="unit.before_commit"),
        KillAt(at=5.0, seconds=3.0, machine="other", point="unit.before_commit"),
    )
    outcome = told(incidents, written)
    traps = [effect.at for effect in outcome.effects if effect.kind == "trap"]
    assert len(traps) == 1
    assert 4.0 < traps[0] < 5.0
    assert outcome.kinds == {"kill_at": 3}
    assert outcome.violations == ()


def test_everything_is_put_right_when_the_world_heals() -> None:
    """Also what would have lasted longer than the story."""
    incidents: tuple[Incident, ...] = (
        Kill(at=1.0, seconds=1e6, machine="boxes"),
        PowerLoss(at=1.0, seconds=1e6, machine="other"),
        Cut(at=1.0, seconds=1e6, machines=("boxes",), others=("client",)),
        SlowDisk(at=1.0, seconds=1e6, machine="boxes", factor=1e6),
        FullDisk(at=1.0, seconds=1e6, machine="boxes"),
        Clock(at=1.0, seconds=1e6, machine="boxes", jump=1e6),
        LostFlush(at=2.0, seconds=1e6, machine="other"),
        KillAt(at=1.0, seconds=1e6, machine="boxes", point="node.drained"),
        Kill(at=1e5, seconds=1e6, machine="boxes"),
    )
    after: dict[str, object] = {}

    async def story(world: World) -> None:
        await asyncio.sleep(5)
        world.eventually("remembered", lambda: after.update(links=links(world), state=state(world)) is None)

    setup = Setup(app=app)
    simulation = Simulation(name="told", story=story, setup=setup, profile="calm", seeds=1, seconds=20.0)
    outcome = run_once(simulation, Token(profile="calm", seed=0, plan=incidents))
    assert outcome.violations == ()
    assert after == {"links": (NONE, NONE, NONE, NONE), "state": "up"}
    assert outcome.incidents == 8
