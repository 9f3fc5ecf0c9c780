"""What `hanse sim` says while it runs, and when it has."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self, final

import click

from hanse.cli.output import Output
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Progress, Sweep

REDRAW_SECONDS = 0.1
"""How often the line of progress is drawn anew on a terminal."""

LINES = 10
"""Lines of progress that are written where nobody watches."""

FAILURES_SHOWN_MAX = 10
"""Failures that are told of as they come; the summary counts all."""


@final
class Ticker:
    """Tells how far a sweep is: a line that is drawn anew on a terminal, a few lines elsewhere."""

    def __init__(self, name: str, output: Output) -> None:
        """Tell of a simulation of this name; nothing where the output is to be quiet."""
        self._name = name
        self._output = output
        self._drawn: bool = False
        self._again: float = 0.0
        self._live: bool = sys.stderr.isatty() and not output.quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._clear()

    def tick(self, progress: Progress) -> None:
        """A run has ended."""
        if not progress.last.ok and progress.failed <= FAILURES_SHOWN_MAX:
            self._clear()
            first = progress.last.violations[0]
            self._output.note(f"{progress.last.token}: {first.check}: {first.detail.partition(chr(10))[0]}")
        if self._live:
            if progress.wall >= self._again:
                self._again = progress.wall + REDRAW_SECONDS
                self._drawn = True
                click.echo(f"\r\033[K{self._name}: {standing(progress)}", err=True, nl=False)
        elif is_told(progress.done, progress.total):
            self._output.note(f"{self._name}: {standing(progress)}")

    def _clear(self) -> None:
        if self._drawn:
            click.echo("\r\033[K", err=True, nl=False)
            self._drawn = False


def is_told(done: int, total: int) -> bool:
    """Whether it is time for another line of progress.

    Example:
        >>> [done for done in range(1, 26) if is_told(done, 25)]
        [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]
    """
    return done * LINES // total > (done - 1) * LINES // total


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
    return f"{kept}, {swept.guarded:,} run twice" if swept.guarded else kept


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
