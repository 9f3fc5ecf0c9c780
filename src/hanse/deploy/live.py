"""The live table of `hanse up` on a terminal: one line a service, below the log, which scrolls away above it. Pure.

It stands below, as what scrolls out of the upper part of a terminal is lost to whoever scrolls back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from hanse.control.desired import Desired, Key
from hanse.control.instances import Instance, Phase, System
from hanse.control.released import BASE
from hanse.deploy.usage import Usage, cpu_share

HEADINGS = ("service", "state", "instances", "restarts", "cpu", "memory", "release")

HEIGHT_PART = 2
"""The table takes this part of a terminal at most, so that there is room for the log."""

WORST: Sequence[Phase] = (
    *("crash loop", "backing off", "unhealthy", "stopping", "draining", "waiting", "starting", "ready", "done"),
)
"""What is told of a service whose instances are at several things: the first of these."""

_COLOURS = {"ready": 32, "done": 32, "crash loop": 31, "backing off": 31, "unhealthy": 31}
_OTHER_COLOUR = 33
_BOLD = 1
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Looked(msgspec.Struct, frozen=True):
    """What processes have taken of the machine, by two looks.

    Attributes:
        before, after: By session.
        seconds: Between them.
    """

    before: Mapping[int, Usage] = {}
    after: Mapping[int, Usage] = {}
    seconds: float = 0.0


def rows_of(system: System, desired: Mapping[Key, Desired], looked: Looked) -> list[tuple[str, ...]]:
    """A row for each service that should run, or does.

    Args:
        system: What runs.
        desired: What should.
        looked: What it takes.
    """
    names = dict.fromkeys((*(one.service for one in desired.values()), *(one.service for one in system.instances)))
    wanted = {name: sum(one.instances for one in desired.values() if one.service == name) for name in names}
    return [_row(name, list(system.of(name)), wanted[name], looked) for name in names]


def table_of(rows: Iterable[Sequence[str]], width: int, height: int, *, colour: bool = False) -> tuple[str, ...]:
    """The lines of the table; none longer than a terminal is wide, and not more than there is room for.

    Args:
        rows: Of services.
        width: Of the terminal.
        height: Of the terminal.
        colour: Whether states are coloured.

    Example:
        >>> table_of([("web", "ready", "2/2", "0", "3%", "40 MiB", "-")], 34, 24)
        ('service  state  instances  restart', 'web      ready  2/2        0')
    """
    there = [tuple(row) for row in rows]
    if not there:
        return ()
    most = max(1, height // HEIGHT_PART - 1)
    shown, left = (there, 0) if len(there) <= most else (there[: most - 1], len(there) - most + 1)
    columns = [max(len(cell) for cell in column) for column in zip(HEADINGS, *shown, strict=True)]
    lines = [_line(row, columns, width) for row in (HEADINGS, *shown)]
    if colour:
        heading, *others = lines
        painted = [_painted(line, row[1]) for line, row in zip(others, shown, strict=True)]
        lines = [f"\x1b[{_BOLD}m{heading}\x1b[0m", *painted]
    more = [f"and {left} more; see `hanse ps`"[:width]] if left else []
    return (*lines, *more)


def erased(lines: Sequence[str], width: int) -> str:
    """What has a terminal forget a table whose last line the cursor is at.

    Args:
        lines: As they were written.
        width: Of the terminal now: one that has become narrower has broken them.
    """
    if not lines:
        return ""
    rows = sum(max(1, -(-len(_STYLE.sub("", line)) // max(1, width))) for line in lines)
    return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"


def _row(name: str, instances: Sequence[Instance], wanted: int, looked: Looked) -> tuple[str, ...]:
    phases = {one.phase for one in instances}
    state = next((phase for phase in WORST if phase in phases), "stopped")
    pids = [one.pid for one in instances if one.pid]
    cpu = sum(cpu_share(looked.before, looked.after, pid, looked.seconds) for pid in pids if pid in looked.before)
    memory = sum(looked.after.get(pid, Usage()).memory_bytes for pid in pids)
    releases = dict.fromkeys(one.release for one in instances if one.release not in {"", BASE})
    good = sum(one.phase in {"ready", "done"} for one in instances)
    return (
        name,
        state,
        f"{good}/{wanted}",
        str(sum(one.restarts for one in instances)),
        f"{cpu:.0%}",
        f"{memory / 1024**2:.0f} MiB",
        ", ".join(releases) or "-",
    )


def _line(row: Sequence[str], columns: Sequence[int], width: int) -> str:
    line = "  ".join(cell.ljust(size) for cell, size in zip(row, columns, strict=True))
    return line[:width].rstrip()


def _painted(line: str, state: str) -> str:
    return line.replace(state, f"\x1b[{_COLOURS.get(state, _OTHER_COLOUR)}m{state}\x1b[0m", 1)
