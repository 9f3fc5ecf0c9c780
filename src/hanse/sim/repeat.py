"""Whether a run repeats: some runs are made again in another process, where hashes of strings are others.

What a seed does not decide (the order of a set of strings, module state that earlier runs left, a clock that no fence
saw) shows as another hash of what happened. A failure that could not be replayed is worth nothing, so this is one too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from hanse.sim.check import Violation
from hanse.sim.diverge import first_difference
from hanse.sim.failure import DIFFERS, Failure
from hanse.sim.origin import Origin
from hanse.sim.run import Outcome, run_once
from hanse.sim.simulation import Simulation
from hanse.sim.token import Token
from hanse.sim.trace import EFFECTS_MAX
from hanse.sim.worker import Order
from hanse.sim.workers import run_apart

SHARE = 0.05
"""Part of the runs that are made again, unless told otherwise; one at least."""

HASH_SEED = "PYTHONHASHSEED"


Again = Callable[[Sequence[Order]], list[Outcome]]
"""Makes runs again."""


class Seen(msgspec.Struct, frozen=True):
    """A run, and the hash of what happened in it."""

    order: Order
    hash: str


def repeat(simulation: Simulation, origin: Origin | None, seen: Sequence[Seen], *, jobs: int = 1) -> list[Failure]:
    """Make runs again elsewhere; a failure for each that did something else there.

    Args:
        simulation: What was run.
        origin: Where it is declared; without one, runs are made again in this process.
        seen: Which runs, and what they came to here.
        jobs: How many processes.
    """
    where, again = _elsewhere(simulation, origin, jobs)
    outcomes = again([one.order for one in seen])
    return [
        Failure(one.order.token, (_wrong(simulation, one.order, outcome, where, again),), one.order.shuffle)
        for one, outcome in zip(seen, outcomes, strict=True)
        if outcome.hash != one.hash
    ]


def chosen(count: int, share: float) -> list[int]:
    """Which of some runs are made again: a share of them, evenly spread, one at least; none where the share is 0.

    Example:
        >>> chosen(100, 0.05), chosen(3, 0.05), chosen(100, 0.0), chosen(0, 0.05)
        ([0, 20, 40, 60, 80], [0], [], [])
    """
    wanted = min(count, math.ceil(count * share))
    return [place * count // wanted for place in range(wanted)]


def other_hashes(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for a process in which the hashes of strings are others than here.

    Example:
        >>> other_hashes({}), other_hashes({"PYTHONHASHSEED": "1"})
        ({'PYTHONHASHSEED': '1'}, {'PYTHONHASHSEED': '2'})
    """
    return {HASH_SEED: "2" if environ.get(HASH_SEED) == "1" else "1"}


def _elsewhere(simulation: Simulation, origin: Origin | None, jobs: int) -> tuple[str, Again]:
    """Where runs are made again, and how."""
    if origin is None:
        return "when it was run again", lambda orders: [_run(simulation, order) for order in orders]
    environ = other_hashes(os.environ)

    def apart(orders: Sequence[Order]) -> list[Outcome]:
        found: dict[int, Outcome] = {}
        run_apart(origin, orders, found.__setitem__, jobs=jobs, environ=environ)
        return [found[place] for place in range(len(orders))]

    return f"in a process with {HASH_SEED}={environ[HASH_SEED]}", apart


def _wrong(simulation: Simulation, order: Order, outcome: Outcome, where: str, again: Again) -> Violation:
    """What was not the same, found out by two runs whose effects are kept."""
    if not outcome.hash:
        return outcome.violations[0]
    order = msgspec.structs.replace(order, keep=True)
    here, there = _run(simulation, order), again([order])[0]
    difference = first_difference(here.effects, there.effects)
    if difference is not None:
        at = next(effect.at for effect in (difference.one, difference.other) if effect is not None)
        return Violation(DIFFERS, f"it did something else {where}, {difference.words()}", at)
    if here.hash == there.hash:
        why = "run by itself it does the same here: what ran before it made the difference, so look for module state"
    else:
        why = f"the first {EFFECTS_MAX:,} effects are the same"
    return Violation(DIFFERS, f"it did something else {where}; {why}", 0.0)


def _run(simulation: Simulation, order: Order) -> Outcome:
    return run_once(simulation, Token.parse(order.token), keep=order.keep, shuffle=order.shuffle)
