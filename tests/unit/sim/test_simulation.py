"""Simulations: what decorating a story makes of it, and worlds for the length of a block."""

import asyncio
import gc

import pytest

from hanse import App, Misconfigured, Misdeclared, Service, Setup, World, current, rpc, simulate, simulation
from hanse.kernel.fault_point import POINTS
from hanse.sim.plan import Kill, KillAt
from hanse.sim.profile import CALM_WEATHER, profile_named
from hanse.sim.run import run
from hanse.sim.simulation import machine_names, simulation_of
from hanse.sim.token import Token


class Greeter(Service):
    @rpc
    async def hello(self) -> str:
        return current().host.name


class Helper(Service):
    @rpc
    async def help(self) -> None: ...


app = App("greeter", Greeter, Helper)


@simulation(app, seeds=3, profile="hostile", seconds=30.0, sometimes=("greeted",))
async def greeting(world: World) -> None:
    """Says hello."""
    await world.client(Greeter).hello()


def test_the_profile_has_to_be_there() -> None:
    with pytest.raises(Misconfigured, match="there is no profile 'stormy'; choose one of calm"):
        simulation(app, profile="stormy")


def test_a_simulation_runs_a_seed_at_least() -> None:
    with pytest.raises(Misdeclared, match="one seed at least, not 0"):
        simulation(app, seeds=0)


def test_what_is_no_simulation_is_refused() -> None:
    with pytest.raises(Misdeclared, match=r"decorated with @simulation, got <function"):
        simulation_of(test_what_is_no_simulation_is_refused)


def test_a_decorated_story_is_a_test_without_parameters() -> None:
    assert (greeting.__name__, greeting.__doc__) == ("greeting", "Says hello.")
    assert greeting.__module__ == __name__
    assert greeting.__code__.co_argcount == 0


def test_a_simulation_knows_what_was_said_of_it() -> None:
    made = simulation_of(greeting)
    assert simulation_of(made) is made
    assert (made.name, made.profile, made.seeds, made.seconds) == ("greeting", "hostile", 3, 30.0)
    assert made.sometimes == ("greeted",)
    assert made.setup.app is app
    assert machine_names(made.setup) == ("greeter", "helper")


def test_a_setup_may_stand_for_its_app() -> None:
    setup = Setup(app=app, machines={"one": [Greeter, Helper]})
    made = simulation_of(simulation(setup)(greeting))  # type: ignore[arg-type]
    assert made.setup is setup
    assert machine_names(setup) == ("one",)


def test_a_token_says_what_goes_wrong() -> None:
    made = simulation_of(greeting)
    token = Token(profile="hostile", seed=3)
    drawn = made.drawn(token)
    assert len(drawn) > 2
    assert made.plan(token) == drawn
    assert made.plan(Token(profile="hostile", seed=3, kept=0b101)) == (drawn[0], drawn[2])
    own = (Kill(at=1.0, seconds=1.0, machine="greeter"),)
    assert made.plan(Token(profile="hostile", seed=3, plan=own)) == own
    assert all(one.point in POINTS for one in drawn if isinstance(one, KillAt))
    assert all(0.0 < one.at <= made.seconds for one in drawn)


def test_a_token_says_what_the_weather_is_like() -> None:
    made = simulation_of(greeting)
    assert made.weather(Token(profile="hostile", seed=3, calm=True)) == CALM_WEATHER
    assert made.weather(Token(profile="hostile", seed=3)) != CALM_WEATHER


# A block.


def test_what_did_not_hold_in_a_block_is_raised_at_its_end() -> None:
    async def main() -> None:
        async with simulate(app) as world:
            world.violate("one", "of them")
            world.violate("two", "of them")

    with pytest.raises(AssertionError, match="one: of them; two: of them"):
        run(main())


def test_what_a_block_raises_says_what_did_not_hold_besides() -> None:
    async def main() -> None:
        async with simulate(app) as world:
            world.violate("one", "of them")
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block") as raised:
        run(main())
    assert raised.value.__notes__ == ["in a world where this did not hold: one: of them"]


def test_what_has_to_come_true_is_waited_for_at_the_end_of_a_block() -> None:
    async def main() -> None:
        async with simulate(app) as world:
            world.eventually("never", lambda: "not yet")

    with pytest.raises(AssertionError, match="never: not yet"):
        run(main())


def test_what_nobody_caught_fails_a_block() -> None:
    async def main() -> None:
        async with simulate(app) as world:

            def fail() -> None:
                raise ValueError("no")

            world.loop.at(world.time + 1, fail)
            await asyncio.sleep(2)

    with pytest.raises(AssertionError, match="uncaught: client: ValueError: no"):
        run(main())


def test_a_block_leaves_its_task_as_it_was() -> None:
    async def main() -> tuple[bool, bool]:
        before, collecting = current(), gc.isenabled()
        async with simulate(app, seed=2) as world:
            assert current().host is world.host
            assert await world.client(Greeter).hello() == "greeter"
        return current() is before, gc.isenabled() == collecting

    assert run(main()) == (True, True)


def test_blocks_may_follow_each_other_in_one_loop() -> None:
    async def main() -> list[str]:
        hashes = list[str]()
        for seed in (1, 2):
            async with simulate(app, seed=seed, profile="flaky", seconds=5.0) as world:
                await asyncio.sleep(6)
                assert world.troubles.count > 0
            hashes.append(world.trace.hash)
            assert world.troubles._over
        return hashes

    assert len(set(run(main()))) == 2


def test_a_block_needs_a_profile_that_there_is() -> None:
    async def main() -> None:
        async with simulate(app, profile="stormy"):
            raise AssertionError("it began")

    with pytest.raises(Misconfigured, match="stormy"):
        run(main())
    assert profile_named("calm").odds == ()
