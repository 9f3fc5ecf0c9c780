"""A simulation as a test: it fails at the first run that fails, with the whole report as its text."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from hanse.kernel.faults import Misconfigured
from hanse.sim.explain import explain
from hanse.sim.failure import DoesNotHold, Failure
from hanse.sim.kept import file_of
from hanse.sim.origin import origin_of
from hanse.sim.report import report
from hanse.sim.simulation import Simulation, simulation_of
from hanse.sim.sweep import Options, Sweep, sweep

SEEDS = "HANSE_SIM_SEEDS"
"""Variable that says how many seeds each test runs, in place of what it says itself."""

REPLAY = "HANSE_SIM_REPLAY"
"""Variable that has each test make one run only: that of the token."""


class KeptRunIsOutdated(UserWarning):
    """A run that failed once cannot be made any more: its token does not mean what it meant."""


def run_as_test(simulation: Simulation, environ: Mapping[str, str] = os.environ) -> None:
    """Run the kept runs of a simulation and then its seeds; stop at the first that fails.

    Args:
        simulation: What to run.
        environ: May hold `HANSE_SIM_SEEDS` (a number) or `HANSE_SIM_REPLAY` (a token).

    Raises:
        DoesNotHold: Something did not hold; the text is the report.
        Misconfigured: A variable cannot be used.
    """
    __tracebackhide__ = True
    token = environ.get(REPLAY, "")
    if token:
        replay(simulation, token)
        return
    swept = sweep(simulation, Options(seeds=_seeds(environ), stop=True))
    _warn(simulation, swept)
    told = _told(simulation, swept, shrinking=True)
    if told:
        raise DoesNotHold(told)


def replay(found: object, token: str, *, shuffle: bool = False) -> None:
    """Make one run of a simulation: what exported tests do.

    Args:
        found: A function decorated with `@simulation`.
        token: Names the run.
        shuffle: Whether to mix the steps within a process.

    Raises:
        DoesNotHold: Something did not hold; the text is the report.
        Misconfigured: The token does not fit the simulation.
    """
    __tracebackhide__ = True
    simulation = simulation_of(found)
    swept = sweep(simulation, Options(token=token, shuffle=shuffle, repeated=0.0))
    told = _told(simulation, swept, shrinking=False)
    if told:
        raise DoesNotHold(told)


def _told(simulation: Simulation, swept: Sweep, *, shrinking: bool) -> str:
    """What did not hold, in words; empty where everything did."""
    if swept.failures:
        return failure_text(simulation, swept.failures[0], shrinking=shrinking)
    if swept.missing:
        names = ", ".join(map(repr, swept.missing))
        return f"{simulation.name}: in none of {swept.seeds} seeds of {swept.profile} did it come to {names}"
    return ""


def failure_text(simulation: Simulation, failure: Failure, *, shrinking: bool) -> str:
    """The report of a failure, for a log."""
    origin = origin_of(simulation)
    target = "" if origin is None else origin.target(Path.cwd())
    return report(explain(simulation, failure, shrinking=shrinking), simulation.name, target)


def _seeds(environ: Mapping[str, str]) -> range | None:
    text = environ.get(SEEDS, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise Misconfigured(f"expected a number of seeds in {SEEDS}, such as 200, got {text!r}")
    return range(int(text))


def _warn(simulation: Simulation, swept: Sweep) -> None:
    origin = origin_of(simulation)
    for why in swept.unfit:
        assert origin is not None
        told = f"{simulation.name}: {why}; find it again, or take it out of {file_of(origin)}"
        warnings.warn(told, KeptRunIsOutdated, stacklevel=3)
