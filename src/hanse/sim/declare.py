"""Makes a story a simulation, and a test: what a module of worlds says of itself."""

from __future__ import annotations

from collections.abc import Callable

from hanse.kernel.faults import Misdeclared
from hanse.node.app import App
from hanse.sim.profile import profile_named
from hanse.sim.setup import Setup
from hanse.sim.simulation import ATTRIBUTE, SECONDS, Simulation, Story

SEEDS = 20
"""Seeds that a test runs, unless it says otherwise."""


def simulation(
    app: App | Setup,
    *,
    seeds: int = SEEDS,
    profile: str = "hostile",
    seconds: float = SECONDS,
    sometimes: tuple[str, ...] = (),
) -> Callable[[Story], Callable[[], None]]:
    """Make a story a test that runs under many seeds, and a world for `hanse sim`.

    Args:
        app: The app; a `Setup` where it takes more to say what the world consists of.
        seeds: How many seeds a test runs: 0, 1, 2, ...
        profile: How hard the world is: `calm`, `flaky`, `hostile`, `deploy`, `power`.
        seconds: How long things go wrong; `world.seconds` in the story.
        sometimes: Names of what has to be reached in at least one of the seeds, with `world.sometimes`.

    Raises:
        Misconfigured: There is no such profile.
    """
    _ = profile_named(profile)
    if seeds < 1:
        raise Misdeclared(f"a simulation runs one seed at least, not {seeds}")

    def decorate(story: Story) -> Callable[[], None]:
        name: str = getattr(story, "__name__", "story")
        made = Simulation(
            name=name,
            story=story,
            setup=app if isinstance(app, Setup) else Setup(app=app),
            profile=profile,
            seeds=seeds,
            seconds=seconds,
            sometimes=sometimes,
        )

        def test() -> None:
            __tracebackhide__ = True
            # Whoever only looks at worlds, as `hanse sim` and its workers do, need not load what runs tests.
            from hanse.sim.as_test import run_as_test

            run_as_test(made)

        # As the story, but without its parameter: pytest would look for a fixture of that name.
        test.__name__, test.__qualname__, test.__doc__, test.__module__ = name, name, story.__doc__, story.__module__
        setattr(test, ATTRIBUTE, made)
        return test

    return decorate
