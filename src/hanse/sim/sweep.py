"""Many seeds of one simulation: what they found, and what they all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from math import fsum
from typing import final

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.sim.failure import Failure
from hanse.sim.kept import kept_of, unfit
from hanse.sim.origin import Origin, origin_of
from hanse.sim.profile import profile_named
from hanse.sim.repeat import SHARE, Seen, chosen, repeat
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
        stop: Whether to stop at the first run that fails.
        token: The only run to make; empty for all seeds.
        repeated: Share of the runs that are made again in another process, one at least; 0 for none.
    """

    seeds: range | None = None
    profile: str = ""
    jobs: int = 1
    shuffle: bool = False
    stop: bool = False
    token: str = ""
    repeated: float = SHARE


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What came of many seeds.

    Attributes:
        profile: How hard the world was.
        seeds: How many ran.
        kept: How many runs that failed once ran before them.
        unfit: Why kept runs did not, one reason for each.
        repeated: How many runs were made again in another process.
        failures: The runs in which something did not hold, in order.
        missing: What had to happen in at least one seed, and did not.
        seconds: Of the worlds' clocks, all together.
        wall: Seconds of the real clock, until the last run had ended.
        steps, packets: How many there were.
        incidents: How many of each kind.
        reached: In how many seeds what happened that the story notes.
        trace_hash: Of everything that happened, in order of the seeds.
    """

    profile: str
    seeds: int
    kept: int
    unfit: tuple[str, ...]
    repeated: int
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
    """Run a simulation under many seeds; before them, the runs that are kept because they failed once.

    Args:
        simulation: The story, and its world.
        options: Which seeds, and how.
        heard: Called after each run.

    Raises:
        Misconfigured: There is no such profile, other processes cannot find the simulation, or what is kept of it
            cannot be read.
    """
    profile = Token.parse(options.token).profile if options.token else options.profile or simulation.profile
    _ = profile_named(profile)
    origin = origin_of(simulation)
    kept, told = ([], ()) if options.token else _kept_orders(simulation, origin)
    orders = [*kept, *_orders(simulation, profile, options)]
    tally = _Tally(orders, len(kept), heard or _unheard)
    if options.jobs == 1 or len(orders) == 1:
        _in_turn(simulation, orders, tally, stop=options.stop)
    elif origin is None:
        raise Misconfigured(
            f"other processes cannot find {simulation.name}: no name in its module stands for it; give it one, or"
            " run all seeds in this process (one job)"
        )
    else:
        run_apart(origin, orders, tally.add, jobs=options.jobs)
    if not (options.stop and tally.failed):
        seen = tally.to_repeat(options.repeated)
        tally.repeated(len(seen), repeat(simulation, origin, seen, jobs=options.jobs))
    return tally.result(profile, told, () if options.token else simulation.sometimes)


def _kept_orders(simulation: Simulation, origin: Origin | None) -> tuple[list[Order], tuple[str, ...]]:
    """The runs that are kept, and why some of them mean nothing any more."""
    kept = [] if origin is None else [(one, unfit(simulation, one)) for one in kept_of(origin)]
    orders = [Order(one.token, one.shuffle) for one, why in kept if not why]
    return orders, tuple(why for _, why in kept if why)


def _orders(simulation: Simulation, profile: str, options: Options) -> Iterator[Order]:
    if options.token:
        yield Order(options.token, options.shuffle)
        return
    for seed in range(simulation.seeds) if options.seeds is None else options.seeds:
        yield Order(Token(profile=profile, seed=seed).encode(), options.shuffle)


def _in_turn(simulation: Simulation, orders: Sequence[Order], tally: _Tally, *, stop: bool) -> None:
    for place, order in enumerate(orders):
        outcome = run_once(simulation, Token.parse(order.token), shuffle=order.shuffle)
        tally.add(place, outcome)
        if stop and not outcome.ok:
            return


def _unheard(progress: Progress) -> None:
    """Nobody listens."""


@final
class _Tally:
    """Adds up what comes of runs, in whatever order they end."""

    def __init__(self, orders: Sequence[Order], kept: int, heard: Heard) -> None:
        self._orders = orders
        self._kept = kept
        self._heard = heard
        self._clock = Host.system().monotonic
        self._began = self._clock()
        self._wall = 0.0
        self._hashes: dict[int, str] = {}
        self._failures: dict[int, Failure] = {}
        self._repeated = 0
        self._seconds: list[float] = []
        self._so_far = 0.0
        self._steps = self._packets = 0
        self._incidents = Counter[str]()
        self._reached = Counter[str]()

    def add(self, place: int, outcome: Outcome) -> None:
        """A run has ended; its place is that of its order among all."""
        self._hashes[place] = outcome.hash
        self._seconds.append(outcome.seconds)
        self._so_far += outcome.seconds
        self._steps += outcome.steps
        self._packets += outcome.packets
        self._incidents.update(outcome.kinds)
        self._reached.update(outcome.reached)
        if not outcome.ok:
            self._failures[place] = Failure(outcome.token, outcome.violations, self._orders[place].shuffle)
        self._wall = self._clock() - self._began
        done, total = len(self._hashes), len(self._orders)
        self._heard(Progress(done, total, len(self._failures), self._so_far, self._wall, outcome))

    @property
    def failed(self) -> bool:
        """Whether something did not hold."""
        return bool(self._failures)

    def to_repeat(self, share: float) -> list[Seen]:
        """The runs that are to be made again: some of those in which everything held."""
        held = [place for place in sorted(self._hashes) if place not in self._failures]
        return [Seen(self._orders[held[at]], self._hashes[held[at]]) for at in chosen(len(held), share)]

    def repeated(self, count: int, failures: Sequence[Failure]) -> None:
        """Runs were made again; some did something else."""
        self._repeated = count
        for failure in failures:
            self._failures[len(self._orders) + len(self._failures)] = failure

    def result(self, profile: str, unfit: tuple[str, ...], sometimes: Sequence[str]) -> Sweep:
        """What it all came to. What is kept has no part in the hash of the seeds."""
        seeds = [self._hashes[place] for place in sorted(self._hashes) if place >= self._kept]
        return Sweep(
            profile=profile,
            seeds=len(seeds),
            kept=len(self._hashes) - len(seeds),
            unfit=unfit,
            repeated=self._repeated,
            failures=tuple(self._failures[place] for place in sorted(self._failures)),
            missing=tuple(name for name in sometimes if name not in self._reached),
            seconds=fsum(self._seconds),  # the same, whichever run ended first
            wall=self._wall,
            steps=self._steps,
            packets=self._packets,
            incidents=dict(sorted(self._incidents.items())),
            reached=dict(sorted(self._reached.items())),
            trace_hash=blake2b("".join(seeds).encode(), digest_size=16).hexdigest(),
        )
