"""From a run that failed to what that takes: the smallest plan, what happens under it, and a run near it that holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import msgspec

from hanse.kernel.host import Host
from hanse.sim.failure import Failure
from hanse.sim.plan import Incident, Plan
from hanse.sim.profile import CALM_WEATHER
from hanse.sim.run import Outcome, run_once
from hanse.sim.shrink import Shrunk, shrink
from hanse.sim.simulation import Simulation
from hanse.sim.token import Token, token_for

SHRINK_SECONDS = 60.0
"""Real seconds that shrinking may take, unless told otherwise; the smallest plan found until then is the result."""

NEIGHBOURS_MAX = 10
"""Runs that are made to find one that passes."""


class Passing(msgspec.Struct, frozen=True):
    """A run that holds, and is as near to one that fails as can be found.

    Attributes:
        outcome: What came of it, with what happened.
        left_out: The incident that it does without; None for another seed.
    """

    outcome: Outcome
    left_out: Incident | None = None


class Diagnosis(msgspec.Struct, frozen=True):
    """What is known of a failure.

    Attributes:
        failure: As it was found.
        incidents: How many were planned then.
        smallest: The run that is left of it, with what happened; None where it did not fail again.
        shrunk: How it became so small; None where nobody tried.
        passing: A run near it that holds; None where none was found.
    """

    failure: Failure
    incidents: int
    smallest: Outcome | None
    shrunk: Shrunk | None = None
    passing: Passing | None = None

    @property
    def least(self) -> Failure:
        """The failure as it is after all that was taken away; as it was found, where nothing could be."""
        if self.smallest is None:
            return self.failure
        return Failure(self.smallest.token, self.smallest.violations, self.failure.shuffle)


def explain(
    simulation: Simulation, failure: Failure, *, shrinking: bool = True, seconds: float = SHRINK_SECONDS
) -> Diagnosis:
    """Find out what a failure takes, by running it again, under less and less.

    Args:
        simulation: In which something did not hold.
        failure: The run, and what did not hold in it.
        shrinking: Whether to make its plan smaller.
        seconds: Real seconds that this may take.
    """
    again = _Again(simulation, failure)
    plan = simulation.plan(again.token)
    if failure.is_apart:
        return Diagnosis(failure, len(plan), None)
    shrunk = again.shrunk(plan, seconds) if shrinking else None
    smallest = again.run(plan) if shrunk is None else again.run(shrunk.plan, calm=shrunk.calm_weather)
    if not again.is_same(smallest):
        return Diagnosis(failure, len(plan), None, shrunk)
    return Diagnosis(failure, len(plan), smallest, shrunk, again.passing(smallest))


@final
class _Again:
    """Makes a run again, with other plans."""

    def __init__(self, simulation: Simulation, failure: Failure) -> None:
        self.token: Token = Token.parse(failure.token)
        self._simulation = simulation
        self._failure = failure

    def run(self, plan: Plan, *, calm: bool = False) -> Outcome:
        """The run under a plan, with what happened in it."""
        return self._run(self.token.seed, plan, calm=calm, keep=True)

    def is_same(self, outcome: Outcome) -> bool:
        """Whether a run fails as the first one did."""
        return bool(outcome.violations) and outcome.violations[0].check == self._failure.violations[0].check

    def shrunk(self, plan: Plan, seconds: float) -> Shrunk:
        """The smallest plan that is found in time under which the run fails as the first one did."""
        clock = Host.system().monotonic
        end, late = clock() + seconds, False

        def fails(plan: Plan, calm: bool) -> bool:  # noqa: FBT001 - as shrinking asks
            nonlocal late
            late = late or clock() > end
            return not late and self.is_same(self._run(self.token.seed, plan, calm=calm))

        found = shrink(plan, fails, calm=self._simulation.weather(self.token) == CALM_WEATHER)
        return msgspec.structs.replace(found, complete=found.complete and not late)

    def passing(self, failing: Outcome) -> Passing | None:
        """The nearest run that holds: the same without one incident, the last first; else that of a seed nearby."""
        calm, plan = Token.parse(failing.token).calm, failing.plan
        for place in reversed(range(max(0, len(plan) - NEIGHBOURS_MAX), len(plan))):
            outcome = self.run(plan[:place] + plan[place + 1 :], calm=calm)
            if outcome.ok:
                return Passing(outcome, plan[place])
        for seed in self._neighbours():
            outcome = self._run(seed, plan, calm=calm, keep=True)
            if outcome.ok:
                return Passing(outcome)
        return None

    def _neighbours(self) -> Iterator[int]:
        for distance in range(1, NEIGHBOURS_MAX // 2 + 1):
            yield self.token.seed + distance
            if self.token.seed >= distance:
                yield self.token.seed - distance

    def _run(self, seed: int, plan: Plan, *, calm: bool, keep: bool = False) -> Outcome:
        simulation, whole = self._simulation, Token(profile=self.token.profile, seed=seed)
        # Where the weather is calm anyway, the token need not say so.
        calmed = (calm or self.token.calm) and simulation.weather(whole) != CALM_WEATHER
        token = token_for(whole.profile, seed, simulation.drawn(whole), plan, calm=calmed)
        return run_once(self._simulation, token, keep=keep, shuffle=self._failure.shuffle)
