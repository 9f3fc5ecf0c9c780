"""A service that keeps nothing may be on several machines: they share its calls, and one may go."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import pytest

from hanse import App, Collection, Event, Fault, Resource, Service, Setup, World, current, every, on, policy, rpc
from hanse.kernel.faults import Misconfigured
from hanse.sim.network import NOTICE_SECONDS_MAX
from hanse.sim.plan import Plan
from hanse.sim.run import Outcome, run_once
from hanse.sim.setup import placed
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token


class Rung(Event):
    id: str


class Visit(Resource):
    by: str = ""


class Greeter(Service):
    """Says on which machine it is."""

    @rpc(idempotent=True)
    async def hello(self) -> str:
        return current().host.name

    @rpc
    async def once(self) -> str:
        return current().host.name


class Visits(Service):
    greeter: Greeter
    visits: Collection[Visit]

    @rpc
    async def visit(self, id: str) -> Visit:
        return await self.visits.put(Visit(id=id, by=await self.greeter.hello()))


class Porter(Service):
    @on(Rung)
    async def answer(self, event: Rung) -> None: ...


class Clock(Service):
    @every("1m")
    async def tick(self) -> None: ...


REPLICAS = ("east", "west")


def setup(**machines: Iterable[type[Service]]) -> Setup:
    services = dict.fromkeys(service for hosted in machines.values() for service in hosted)
    return Setup(app=App("house", *services), machines=machines)


house = setup(east=[Greeter], west=[Greeter], visits=[Visits])


def tell(story: Story, *, plan: Plan | None = (), profile: str = "calm", seed: int = 0) -> Outcome:
    told = Simulation(name="told", story=story, setup=house, profile=profile, seeds=1, seconds=30.0)
    outcome = run_once(told, Token(profile=profile, seed=seed, plan=plan))
    assert [f"{one.check}: {one.detail}" for one in outcome.violations] == []
    return outcome


async def calls(world: World, count: int, *, retried: bool = True) -> Counter[str]:
    """Who answered, ten times a second; what failed, by its code."""
    found = Counter[str]()
    greeter = world.client(Greeter)
    for _ in range(count):
        try:
            found[await (greeter.hello() if retried else greeter.once())] += 1
        except Fault as fault:
            found[fault.code] += 1
        await asyncio.sleep(0.1)
    return found


def test_they_share_the_calls() -> None:
    async def story(world: World) -> None:
        found = await calls(world, 200)
        assert set(found) == set(REPLICAS)
        assert min(found.values()) > 70

    _ = tell(story)


@pytest.mark.parametrize("machine", REPLICAS)
@pytest.mark.parametrize("dark", [False, True])
def test_where_one_dies_the_other_goes_on(machine: str, *, dark: bool) -> None:
    """Calls that may be repeated find the other; the rest fail for as long as it takes to notice."""

    async def story(world: World) -> None:
        [other] = {*REPLICAS} - {machine}
        _ = await calls(world, 20)
        (world.power_cut if dark else world.crash)(machine)
        found = await calls(world, 100)
        assert found[other] >= 95, found
        assert await calls(world, 20, retried=False) == {other: 20}
        await world.restart(machine)
        assert set(await calls(world, 30)) == {*REPLICAS}

    _ = tell(story)


def test_calls_that_are_not_repeated_fail_only_until_it_is_noticed() -> None:
    async def story(world: World) -> None:
        world.crash("east")
        found = await calls(world, 100, retried=False)
        assert found["west"] >= 100 - 10 * NOTICE_SECONDS_MAX, found
        assert set(found) <= {"west", "unavailable"}

    _ = tell(story)


@pytest.mark.parametrize("seed", range(3))
def test_who_calls_them_from_within_has_few_failures_in_a_hostile_world(seed: int) -> None:
    async def story(world: World) -> None:
        async for number in world.arrivals(rate=5.0):
            with suppress(Fault):
                _ = await policy(world.client(Visits), timeout="5s").visit(f"{number}")
        assert {visit.by for visit in world.rows(Visit)} == {*REPLICAS}

    _ = tell(story, plan=None, profile="hostile", seed=seed)


def test_the_way_to_one_of_them_may_be_cut() -> None:
    async def story(world: World) -> None:
        world.network.cut("visits", "east")
        visits = policy(world.client(Visits), timeout="1s")
        for number in range(40):
            with suppress(Fault):
                _ = await visits.visit(f"{number}")
        assert {visit.by for visit in world.rows(Visit)} == {"west"}
        world.network.mend("visits", "east")
        for number in range(40):
            _ = await visits.visit(f"{number}")
        assert {visit.by for visit in world.rows(Visit)} == {*REPLICAS}

    _ = tell(story)


def test_who_speaks_of_one_of_several_says_which() -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misconfigured, match="greeter is on east, west; name the machine: 'east'"):
            world.crash(Greeter)
        with pytest.raises(Misconfigured, match="there is no machine 'north'; there are east, west, visits"):
            world.crash("north")
        with pytest.raises(Misconfigured, match="east and east are both on east"):
            world.network.cut("east", "east")
        world.crash("visits")
        await world.restart(Visits)

    _ = tell(story)


@pytest.mark.parametrize(
    ("services", "why"),
    [
        ([Visits], r"visits is on a and b, but it keeps rows \(Visit\)"),
        ([Porter], r"porter is on a and b, but it reacts \(answer\)"),
        ([Clock], r"clock is on a and b, but it reacts \(tick\)"),
    ],
)
def test_what_keeps_something_is_on_one_machine(services: list[type[Service]], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        _ = placed(setup(a=services, b=services))


def test_a_machine_hosts_a_service_once_and_one_at_least() -> None:
    with pytest.raises(Misconfigured, match="a machine hosts a service once"):
        _ = placed(setup(a=[Greeter, Greeter]))
    with pytest.raises(Misconfigured, match="the machine 'b' hosts no service"):
        _ = placed(setup(a=[Greeter], b=[]))
