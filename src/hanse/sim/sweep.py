"""Many seeds of one simulation: what they found, and what they all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import final

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.sim.check import Violation
from hanse.sim.origin import origin_of
from hanse.sim.profile import profile_named
from hanse.sim.run import Outcome, run_once
from hanse.sim.simulation import Simulation
from hanse.sim.token import Token
from hanse.sim.worker import Order
from hanse.sim.workers import run_apart


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to sweep.

    Attributes:
        seeds: Which; None for as many as the simulation says, from 0.
        profile: How hard the world is; empty for what the simulation says.
        jobs: How many processes; 1 runs all in this one.
        shuffle: Whether to mix the steps within a process as well; more than production does.
        stop: Whether to stop at the first seed that fails.
    """

    seeds: range | None = None
    profile: str = ""
    jobs: int = 1
    shuffle: bool = False
    stop: bool = False


class Failure(msgspec.Struct, frozen=True):
    """A run in which something did not hold.

    Attributes:
        token: Names it.
        violations: What did not hold.
    """

    token: str
    violations: tuple[Violation, ...]


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What came of many seeds.

    Attributes:
        profile: How hard the world was.
        seeds: How many ran.
        failures: The runs in which something did not hold, in order.
        missing: What had to happen in at least one seed, and did not.
        seconds: Of the worlds' clocks, all together.
        wall: Seconds of the real clock.
        steps, packets: How many there were.
        incidents: How many of each kind.
        reached: In how many seeds what happened that the story notes.
        trace_hash: Of everything that happened, in order of the seeds.
    """

    profile: str
    seeds: int
    failures: tuple[Failure, ...]
    missing: tuple[str, ...]
    seconds: float
    wall: float
    steps: int
    packets: int
    incidents: dict[str, int]
    reached: dict[str, int]
    trace_hash: str

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return not (self.failures or self.missing)

    @property
    def rate(self) -> float:
        """Simulated seconds in a real one."""
        return self.seconds / self.wall if self.wall else 0.0


class Progress(msgspec.Struct, frozen=True):
    """How far a sweep is.

    Attributes:
        done, total: How many runs.
        failed: How many of them something did not hold in.
        seconds, wall: Of the worlds' clocks, and of the real one.
        last: The run that just ended.
    """

    done: int
    total: int
    failed: int
    seconds: float
    wall: float
    last: Outcome


Heard = Callable[[Progress], None]


def sweep(simulation: Simulation, options: Options, heard: Heard | None = None) -> Sweep:
    """Run a simulation under many seeds.

    Args:
        simulation: The story, and its world.
        options: Which seeds, and how.
        heard: Called after each run.

    Raises:
        Misconfigured: There is no such profile, or other processes cannot find the simulation.
    """
    profile = options.profile or simulation.profile
    _ = profile_named(profile)
    seeds = range(simulation.seeds) if options.seeds is None else options.seeds
    orders = [Order(Token(profile=profile, seed=seed).encode(), options.shuffle) for seed in seeds]
    tally = _Tally(len(orders), heard or _unheard)
    if options.jobs > 1 and len(orders) > 1:
        _in_processes(simulation, orders, options, tally)
    else:
        _in_turn(simulation, orders, options, tally)
    return tally.result(profile, simulation.sometimes)


def _in_turn(simulation: Simulation, orders: Sequence[Order], options: Options, tally: _Tally) -> None:
    for place, order in enumerate(orders):
        outcome = run_once(simulation, Token.parse(order.token), shuffle=order.shuffle)
        tally.add(place, outcome)
        if options.stop and not outcome.ok:
            return


def _in_processes(simulation: Simulation, orders: Sequence[Order], options: Options, tally: _Tally) -> None:
    origin = origin_of(simulation)
    if origin is None:
        raise Misconfigured(
            f"other processes cannot find {simulation.name}: no name in its module stands for it; give it one, or"
            " run all seeds in this process (one job)"
        )
    run_apart(origin, orders, tally.add, jobs=options.jobs)


def _unheard(progress: Progress) -> None:
    """Nobody listens."""


@final
class _Tally:
    """Adds up what comes of runs, in whatever order they end."""

    def __init__(self, total: int, heard: Heard) -> None:
        self._heard = heard
        self._total = total
        self._clock = Host.system().monotonic
        self._began = self._clock()
        self._hashes: dict[int, str] = {}
        self._failures: dict[int, Failure] = {}
        self._seconds = 0.0
        self._steps = self._packets = 0
        self._incidents = Counter[str]()
        self._reached = Counter[str]()

    def add(self, place: int, outcome: Outcome) -> None:
        """A run has ended; its place is that of its seed among all."""
        self._hashes[place] = outcome.hash
        self._seconds += outcome.seconds
        self._steps += outcome.steps
        self._packets += outcome.packets
        self._incidents.update(outcome.kinds)
        self._reached.update(outcome.reached)
        if not outcome.ok:
            self._failures[place] = Failure(outcome.token, outcome.violations)
        self._heard(
            Progress(
                len(self._hashes), self._total, len(self._failures), self._seconds, self._clock() - self._began, outcome
            )
        )

    def result(self, profile: str, sometimes: Sequence[str]) -> Sweep:
        """What it all came to."""
        hashes = "".join(self._hashes[place] for place in sorted(self._hashes))
        return Sweep(
            profile=profile,
            seeds=len(self._hashes),
            failures=tuple(self._failures[place] for place in sorted(self._failures)),
            missing=tuple(name for name in sometimes if name not in self._reached),
            seconds=self._seconds,
            wall=self._clock() - self._began,
            steps=self._steps,
            packets=self._packets,
            incidents=dict(sorted(self._incidents.items())),
            reached=dict(sorted(self._reached.items())),
            trace_hash=blake2b(hashes.encode(), digest_size=16).hexdigest(),
        )
