"""What a run is made of: groups of cases, each measured in a fresh process, and what came of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Figures = dict[str, float]
"""What one process measured, by the name of the column."""


class SkippedError(Exception):
    """A case cannot run here; its text says why."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that a group measures.

    Attributes:
        name: Key in the figures.
        title: Head of the column, with its unit.
        digits: Digits after the point.
    """

    name: str
    title: str
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    Attributes:
        name: As in the tables and on the command line.
        measure: Starts a process (or several), and gives what it measured in so many seconds.
        about: What is done, in a few words.
        base: The case that it is compared with; by default that of its group.
        limits: The most that a figure may be, by column.
        least: The least that it may be.
    """

    name: str
    measure: Callable[[float], Figures]
    about: str = ""
    base: str = ""
    limits: Figures = field(default_factory=dict)
    least: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that are compared with one another, and so measured in turn.

    Attributes:
        base: Name of the case whose figures the ratios are against.
        columns: What is measured; ratios are of the first.
        warm_up: Whether each case runs once before the first round, such as to compile what it imports.
        python: What the cases run on, where that is not the Python of this process.
    """

    name: str
    title: str
    base: str
    columns: tuple[Column, ...]
    cases: tuple[Case, ...]
    warm_up: bool = False
    python: Path = Path(sys.executable)


@dataclass(slots=True)
class Outcome:
    """What became of one case: the figures of each round, or why there are none."""

    rounds: list[Figures] = field(default_factory=list)
    skipped: str = ""
