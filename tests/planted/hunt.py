"""Hunts one planted bug: `python -m planted.hunt NAME`, in the folder that this package is in, prints what it found.

With `--from SEED` it begins at that seed, and keeps the plan as it was drawn.

The bug is planted in the process that hunts it, so there is one process for each.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import msgspec

from hanse.sim.check import Violation
from hanse.sim.plan import Plan
from hanse.sim.run import Outcome, run_once
from hanse.sim.shrink import shrink
from hanse.sim.simulation import Simulation, simulation_of
from hanse.sim.sweep import Options, Sweep, sweep
from hanse.sim.token import Token, token_for

from .unmeasured import unmeasured

SEEDS_MAX = 200
"""Seeds within which a bug has to be found."""

SHRINK_RUNS_MAX = 60
"""Runs that its plan is made smaller with; nearly all need fewer."""

HERE = Path(__file__).parent


class Found(msgspec.Struct, frozen=True):
    """A bug, and what it took to find it.

    Attributes:
        name: Of the bug.
        gone, follows: What was taken away, and what comes of it.
        world: What noticed.
        profile: How hard that was.
        seeds: How many it took; 0 where none of `SEEDS_MAX` was enough.
        drawn, left: Incidents of the plan that the bug was found under, and of the smallest one.
        calm: Whether it takes no more than the best weather.
        token: Of the run that is left.
        violation: What did not hold in it.
        hash: Of all that happened in it.
    """

    name: str
    gone: str
    follows: str
    world: str
    profile: str
    seeds: int
    drawn: int = 0
    left: int = 0
    calm: bool = False
    token: str = ""
    violation: Violation | None = None
    hash: str = ""


def bugs() -> list[str]:
    """The names of all bugs."""
    return sorted(path.stem for path in (HERE / "bugs").glob("[a-z]*.py"))


def file_of(name: str) -> Path:
    """The file of a bug."""
    return HERE / "bugs" / f"{name}.py"


def hunt(name: str, first: int | None = None) -> Found:
    """Plant a bug in this process and find it.

    Args:
        name: Of the bug.
        first: The seed to begin with, where it was found once; then the others. Without it all seeds in their order,
            and the plan that it was found under is made small.
    """
    module = importlib.import_module(f"planted.bugs.{name}")
    simulation = simulation_of(getattr(module, name))
    gone, follows = (module.__doc__ or "").strip().splitlines()
    played_in = next(key for key in vars(module) if f"planted.worlds.{key}" in sys.modules)
    swept = _swept(simulation, first or 0)
    found = Found(name, gone, follows, played_in, swept.profile, swept.seeds if swept.failures else 0)
    if not swept.failures:
        return found
    if first is None:
        return _shrunk(simulation, found, swept.failures[0].token)
    failure = swept.failures[0]
    return msgspec.structs.replace(found, token=failure.token, violation=failure.violations[0], hash=swept.trace_hash)


def _swept(simulation: Simulation, first: int) -> Sweep:
    swept = sweep(simulation, Options(seeds=range(first, SEEDS_MAX), stop=True, repeated=0.0))
    if first and not swept.failures:
        return sweep(simulation, Options(seeds=range(first), stop=True, repeated=0.0))
    return swept


def _shrunk(simulation: Simulation, found: Found, failed: str) -> Found:
    token = Token.parse(failed)
    drawn = simulation.plan(token)

    def run(plan: Plan, calm: bool) -> Outcome:
        return run_once(simulation, token_for(token.profile, token.seed, drawn, plan, calm=calm))

    check = run(drawn, False).violations[0].check

    def fails(plan: Plan, calm: bool) -> bool:
        return [one.check for one in run(plan, calm).violations][:1] == [check]

    small = shrink(drawn, fails, SHRINK_RUNS_MAX)
    last = run(small.plan, small.calm_weather)
    return msgspec.structs.replace(
        found,
        drawn=len(drawn),
        left=len(small.plan),
        calm=small.calm_weather,
        token=last.token,
        violation=last.violations[0],
        hash=sweep(simulation, Options(token=last.token, repeated=0.0)).trace_hash,
    )


def hunted(name: str, first: int | None = None) -> Found:
    """Hunt a bug in a process of its own.

    Args:
        name: Of the bug.
        first: As `hunt` takes it.

    Raises:
        AssertionError: That process failed, which is not what the bug is for.
    """
    done = _run(name, "-m", "planted.hunt", name, *([] if first is None else ["--from", str(first)]))
    assert done.returncode == 0, f"{name} could not be hunted"
    return msgspec.json.decode(done.stdout, type=Found)


def replayed(found: Found) -> Found:
    """What comes of the run that is left, in a process of its own, which has its sets in another order."""
    again = _run(found.token, "-m", "hanse", "sim", str(file_of(found.name)), "--replay", found.token, "--json", "-q")
    seen = msgspec.json.decode(again.stdout, type=_Replayed)
    violation = seen.failures[0].violations[0] if seen.failures else None
    return msgspec.structs.replace(found, violation=violation, hash=seen.trace_hash)


class _Failure(msgspec.Struct):
    violations: list[Violation]


class _Replayed(msgspec.Struct):
    failures: list[_Failure]
    trace_hash: str


def _run(order: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python; what the `order` is says in which order its sets are."""
    # What planted code does is no part of what the tests cover, and to measure it takes longer than to hunt.
    environ = {**unmeasured(), "PYTHONHASHSEED": str(sum(order.encode()))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=HERE.parent, env=environ, stdout=subprocess.PIPE, check=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--from", dest="first", type=int)
    asked = parser.parse_args()
    print(msgspec.json.encode(hunt(asked.name, asked.first)).decode())  # noqa: T201
