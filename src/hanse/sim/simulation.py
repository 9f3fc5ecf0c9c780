"""A simulation: an app, a story that is told in its world, and how hard that world is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from hanse.kernel.context import ambient
from hanse.kernel.fault_point import POINTS
from hanse.kernel.faults import Misdeclared
from hanse.node.app import App
from hanse.sim.carried import brokers_of
from hanse.sim.plan import Plan
from hanse.sim.profile import CALM_WEATHER, Weather, draw_plan, draw_weather, profile_named
from hanse.sim.setup import Setup, placed
from hanse.sim.steady import steady
from hanse.sim.token import Token
from hanse.sim.world import World

Story = Callable[[World], Awaitable[None]]
"""What customers do in a world, and what has to hold there."""

SECONDS = 60.0
"""How long things go wrong, unless the simulation says otherwise."""

ATTRIBUTE = "__hanse_simulation__"


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What `@simulation` makes of a story.

    Attributes:
        name: Of the function.
        story: The function.
        setup: The app, and where it runs.
        profile: How hard the world is, unless whoever runs it says otherwise.
        seeds: How many seeds a test runs.
        seconds: How long things go wrong.
        sometimes: Names of what must happen in at least one seed of a sweep.
    """

    name: str
    story: Story
    setup: Setup
    profile: str
    seeds: int
    seconds: float
    sometimes: tuple[str, ...] = ()

    def drawn(self, token: Token) -> Plan:
        """What goes wrong under the seed of a token, before the token takes anything away."""
        machines = list(machine_names(self.setup))
        return draw_plan(profile_named(token.profile), token.seed, machines, list(POINTS), self.seconds)

    def plan(self, token: Token) -> Plan:
        """What goes wrong in the run that a token names."""
        return token.apply(() if token.plan is not None else self.drawn(token))

    def weather(self, token: Token) -> Weather:
        """What the machines and the network are like in that run."""
        return CALM_WEATHER if token.calm else draw_weather(profile_named(token.profile), token.seed)


def simulation_of(found: object) -> Simulation:
    """The simulation behind what `@simulation` decorated.

    Raises:
        Misdeclared: It is something else.
    """
    made = getattr(found, ATTRIBUTE, found)
    if not isinstance(made, Simulation):
        raise Misdeclared(f"expected a function decorated with @simulation, got {found!r}")
    return made


def machine_names(setup: Setup) -> tuple[str, ...]:
    """The machines of a world: those that host services, and the broker's, where there is one."""
    return (*placed(setup), *brokers_of(setup.transport))


@asynccontextmanager
async def simulate(
    app: App | Setup, *, seed: int = 0, profile: str = "calm", seconds: float = SECONDS
) -> AsyncGenerator[World]:
    """A world for the length of a block; it needs virtual time (`hanse.sim.run`, or a test marked `virtual_time`).

    Args:
        app: The app; a `Setup` where it takes more to say what the world consists of.
        seed: Decides everything that is left to chance.
        profile: How hard the world is.
        seconds: For how long.

    Raises:
        AssertionError: Something did not hold that always or in the end has to.
        TimeoutError: A machine did not come up.
        Misconfigured: The loop is a real one, there is no such profile, or the setup does not fit the app.
    """
    setup = app if isinstance(app, Setup) else Setup(app=app)
    hard, before = profile_named(profile), ambient.get()
    plan = draw_plan(hard, seed, list(machine_names(setup)), list(POINTS), seconds)
    world = World(setup, seed, length=seconds)
    try:
        with steady():
            await world.start(draw_weather(hard, seed))
            world.troubles.begin(plan)
            yield world
            if not world.violations:
                await conclude(world)
    except BaseException as error:
        world.close()
        if world.violations:
            error.add_note(f"in a world where this did not hold: {_told(world)}")
        raise
    finally:
        world.close()
        _ = ambient.set(before)
    if world.violations:
        raise AssertionError(_told(world))


def _told(world: World) -> str:
    return "; ".join(f"{one.check}: {one.detail}" for one in world.violations)


async def conclude(world: World) -> None:
    """Let the world heal and come to rest, and take the last look."""
    try:
        await world.heal()
        await world.settle()
    except TimeoutError as error:
        world.violate("rest", f"once all was healed: {error}")
        return
    await world.conclude()
