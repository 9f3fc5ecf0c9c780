"""Runs a story in a world of its own, and gives what did not hold."""

from collections.abc import Callable

import pytest

from hanse import App
from hanse.sim.plan import Plan
from hanse.sim.run import run_once
from hanse.sim.setup import Setup
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token

Watch = Callable[..., list[str]]


@pytest.fixture
def watch() -> Watch:
    """Tell a story in calm weather, or as a profile has it; what the observers found, as `check: detail`."""

    def run(
        app: App | Setup,
        story: Story,
        *,
        plan: Plan | None = (),
        profile: str = "calm",
        seed: int = 0,
        seconds: float = 20.0,
    ) -> list[str]:
        simulation = Simulation(
            name="watched",
            story=story,
            setup=app if isinstance(app, Setup) else Setup(app=app),
            profile=profile,
            seeds=1,
            seconds=seconds,
        )
        outcome = run_once(simulation, Token(profile=profile, seed=seed, plan=plan))
        return [f"{one.check}: {one.detail}" for one in outcome.violations]

    return run
