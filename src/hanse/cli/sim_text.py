"""What `hanse sim` says while it runs, and when it has."""

from __future__ import annotations

import click

from hanse.cli.progress import Progress as Told
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Progress, Sweep

FAILURES_SHOWN_MAX = 10
"""Failures that are told of as they come; the summary counts all."""


def tick(told: Told, progress: Progress) -> None:
    """Tell of a run that has ended, and how far the sweep is."""
    if not progress.last.ok and progress.failed <= FAILURES_SHOWN_MAX:
        first = progress.last.violations[0]
        told.note(f"{progress.last.token}: {first.check}: {first.detail.partition(chr(10))[0]}")
    told.tell(standing(progress), progress.done, progress.total, seconds=progress.wall)


def standing(progress: Progress) -> str:
    """How far a sweep is, in one line."""
    rate = progress.seconds / progress.wall if progress.wall else 0.0
    failed = f"{progress.failed} failed" if progress.failed else "all held"
    return f"{progress.done} of {progress.total} runs, {failed}, {rate:,.0f} simulated seconds a second"


def summary(simulation: Simulation, swept: Sweep, *, colour: bool = False) -> str:
    """What came of a sweep, in a few lines."""
    verdict = "everything held" if swept.ok else _verdict(swept)
    if colour:
        verdict = click.style(verdict, fg="green" if swept.ok else "red", bold=True)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in swept.incidents.items())
    incidents = f"{plural(sum(swept.incidents.values()), 'incident')}{f': {kinds}' if kinds else ''}"
    rate = f"{swept.seconds:,.0f} simulated seconds in {swept.wall:.1f} s ({swept.rate:,.0f} a second)"
    return "\n".join(
        [
            f"{simulation.name}: {plural(swept.seeds, 'seed')} of {swept.profile}{_beside(swept)}: {verdict}",
            f"  {rate}, {incidents}",
            f"  trace {swept.trace_hash}",
        ]
    )


def _beside(swept: Sweep) -> str:
    kept = f", {plural(swept.kept, 'kept run')}" if swept.kept else ""
    return f"{kept}, {swept.repeated:,} run twice" if swept.repeated else kept


def plural(count: int, word: str) -> str:
    """A number of things.

    Example:
        >>> plural(1, "seed"), plural(1200, "seed")
        ('1 seed', '1,200 seeds')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _verdict(swept: Sweep) -> str:
    said = [f"{plural(len(swept.failures), 'run')} failed"] if swept.failures else []
    if swept.missing:
        said.append(f"never reached: {', '.join(swept.missing)}")
    return "; ".join(said)
