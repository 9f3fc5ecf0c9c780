"""One run of a simulation: from a token to what came of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar, final

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.sim.check import Violation, told_of
from hanse.sim.enclosure import FENCE, Enclosure, require_virtual_clocks
from hanse.sim.fence import Fence, Fenced
from hanse.sim.loop import Loop, Stuck, require_no_loop
from hanse.sim.machine import WALL
from hanse.sim.plan import Plan
from hanse.sim.quiet import unheard
from hanse.sim.simulation import Simulation, conclude
from hanse.sim.steady import steady
from hanse.sim.token import Token
from hanse.sim.trace import Effect
from hanse.sim.world import World

T = TypeVar("T")

RUN_STEPS_MAX = 10_000_000
"""Steps of one run, which takes a minute; one that goes on is taken to be without end."""

_log = logging.getLogger("hanse.sim")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run; without more, of one that never came to anything.

    Attributes:
        token: Names the run.
        violations: What did not hold; nothing where all is well.
        hash: Of everything that happened.
        seconds: Of the world's clock.
        wall: Seconds of the real clock.
        steps, packets: How many the loop ran, and the network was given.
        incidents: How many began.
        kinds: How many of each kind.
        reached: Names of what happened at least once.
        points: How often the code passed each fault point.
        plan: What was to go wrong.
        effects: What happened, where it was kept.
    """

    token: str
    violations: tuple[Violation, ...]
    hash: str = ""
    seconds: float = 0.0
    wall: float = 0.0
    steps: int = 0
    packets: int = 0
    incidents: int = 0
    kinds: dict[str, int] = {}
    reached: tuple[str, ...] = ()
    points: dict[str, int] = {}
    plan: Plan = ()
    effects: tuple[Effect, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not self.violations


def run(main: Coroutine[Any, Any, T], *, seed: int = 0) -> T:
    """Run a coroutine in virtual time. What fails in it and nobody awaits is logged.

    Raises:
        Misconfigured: A loop runs already in this thread.
        Stuck: Nothing is left that could complete it.

    Example:
        >>> async def main() -> float:
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run(main())
        3600.0
    """
    try:
        require_no_loop()
    except Misconfigured:
        main.close()
        raise
    loop = Loop(seed)
    try:
        with steady(), asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(main)
    finally:
        for _, error in loop.errors:
            _log.error("nobody caught %r", error)


def run_once(simulation: Simulation, token: Token, *, keep: bool = False, shuffle: bool = False) -> Outcome:
    """Run a simulation as a token says.

    Args:
        simulation: The story, and its world.
        token: Which run.
        keep: Whether to keep what happens.
        shuffle: Whether to mix the steps within a process as well; more than production does.

    Raises:
        Misconfigured: The token does not fit the simulation, or a loop runs already in this thread.
        Misdeclared: The app reads real clocks where no fence could see it.
    """
    require_no_loop()
    require_virtual_clocks(simulation.setup)
    clock = Host.system().monotonic
    with steady():
        started = clock()
        stage = _Stage(simulation, token, keep=keep, shuffle=shuffle)
        with Enclosure(simulation.setup, token.seed, _Clocks(stage)) as enclosure:
            outcome = stage.play(enclosure.fence)
            with unheard():
                # What was under way when the world ended ends here, and nowhere else.
                del stage
                _ = gc.collect()
        violations = (*outcome.violations, *enclosure.left(outcome.seconds))
        return msgspec.structs.replace(outcome, violations=violations, wall=clock() - started)


@final
class _Stage:
    """All that belongs to one run, so that all of it can be let go of at once."""

    def __init__(self, simulation: Simulation, token: Token, *, keep: bool, shuffle: bool) -> None:
        self._simulation = simulation
        self._token = token
        self._keep = keep
        self._plan = simulation.plan(token)
        self.loop: Loop = Loop(token.seed, shuffle=shuffle)
        self.loop.steps_max = RUN_STEPS_MAX
        self.world: World | None = None

    def play(self, fence: Fence) -> Outcome:
        """Run it to its end."""
        fence.heard = self._refused
        try:
            self.loop.play(self._main())
        except Stuck as stuck:
            assert self.world is not None
            self.world.violate("stuck", str(stuck))
        except Fenced:
            # It was heard already; what matters is that it came as far as this.
            assert self.world is not None
        finally:
            fence.heard = None
            if self.world is not None:
                self.world.close()
        return self._outcome()

    def _refused(self, fenced: Fenced) -> None:
        # What is cleared away in dead processes, once the loop has stopped, may try whatever it likes.
        if self.world is not None and self.loop.is_running():
            self.world.violate(FENCE, str(fenced))

    async def _main(self) -> None:
        simulation, token = self._simulation, self._token
        world = self.world = World(simulation.setup, token.seed, length=simulation.seconds, keep=self._keep)
        await _tell(simulation, token, self._plan, world)

    def _outcome(self) -> Outcome:
        world, loop = self.world, self.loop
        assert world is not None
        return Outcome(
            token=self._token.encode(),
            violations=tuple(world.violations),
            hash=world.trace.hash,
            seconds=loop.now,
            steps=loop.steps,
            packets=world.net.sent,
            incidents=world.troubles.count,
            kinds=dict(sorted(world.troubles.kinds.items())),
            reached=tuple(sorted(world.reached)),
            points=dict(sorted(world.troubles.passed.items())),
            plan=self._plan,
            effects=tuple(world.trace.effects),
        )


@final
class _Clocks:
    """The clocks of whichever machine has its turn. It holds no stage, or none could be let go of."""

    def __init__(self, stage: _Stage) -> None:
        self._stage = weakref.ref(stage)

    def now(self) -> float:
        stage = self._stage()
        if stage is None:
            return WALL
        machine = None if stage.world is None else stage.world.machines.get(stage.loop.lane.name)
        return WALL + stage.loop.now if machine is None else machine.wall()

    def monotonic(self) -> float:
        stage = self._stage()
        return 0.0 if stage is None else stage.loop.time()


async def _tell(simulation: Simulation, token: Token, plan: Plan, world: World) -> None:
    """Tell the story, until it ends or something is found that does not hold."""
    try:
        await world.start(simulation.weather(token))
    except TimeoutError as error:
        world.violate("start", str(error))
        return
    world.troubles.begin(plan)
    async with asyncio.TaskGroup() as group:
        story = group.create_task(_story(simulation, world), name=simulation.name)
        failing = group.create_task(world.failed.wait(), name="failing")
        _ = await asyncio.wait({story, failing}, return_when=asyncio.FIRST_COMPLETED)
        _ = story.cancel()
        _ = failing.cancel()
    if not world.violations:
        await conclude(world)


async def _story(simulation: Simulation, world: World) -> None:
    try:
        await simulation.story(world)
    except Exception as error:  # noqa: BLE001 - whatever a story raises is what the run found
        world.violate("story", told_of(error))
    except (Fenced, BaseExceptionGroup) as error:
        if not world.violations:
            world.violate("story", told_of(error))
