"""No row is held twice, and no run whose lease is over commits.

A run of a rule shows as a task of a process, named after rule and row; it begins where the process passes the fault
point behind which it holds the row, and is over when its task is, or its process. For how long it may hold the row the
app says, on the process's own clock. So two runs at one row are two such tasks, the first of them within its time; and
whether a commit comes too late is seen where it is begun: what is on its way to the disk is past recall, and whoever
holds the row next is told by the row's revision. Rules are looked at for as long as things go wrong: nobody hears of
fault points in a world that has healed.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from hanse.node.app import App
from hanse.service.reaction import Rule
from hanse.service.service import reactions_of
from hanse.sim.check import Observer
from hanse.sim.lane import Lane
from hanse.sim.observe.per_app import per_app
from hanse.sim.observe.scene import Scene

KEPT_MAX = 1_000
"""Runs that are known until those that are over are forgotten."""

_LEASED = "rule.leased"
_COMMITS = "unit.before_commit"
_PREFIX = "rule "
_HOLDS = " holds "


class Run(msgspec.Struct, frozen=True, eq=False):
    """A run of a rule at a row.

    Attributes:
        machine: Where.
        lane: Its process.
        task: Does it.
        until: When its lease is over, on the clock of its process.
    """

    machine: str
    lane: Lane
    task: asyncio.Task[Any]
    until: float

    @property
    def alive(self) -> bool:
        """Whether it is at work."""
        return self.lane.alive and not self.task.done()

    @property
    def late(self) -> bool:
        """Whether its lease is over."""
        return self.lane.time() >= self.until


class Leases(Observer):
    """Finds rows that are held twice, and commits that come too late."""

    name: str = "leases"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first run."""
        self._scene = scene
        self._runs: dict[str, list[Run]] = {}
        self._at: dict[asyncio.Task[Any], tuple[str, Run]] = {}

    def passed(self, machine: str, point: str) -> None:
        """A run begins to hold its row, or is about to commit."""
        if point == _LEASED:
            self._begin(machine, cast("asyncio.Task[Any]", asyncio.current_task()))
        elif point == _COMMITS and self._at:
            self._commit(machine, asyncio.current_task())

    def _begin(self, machine: str, task: asyncio.Task[Any]) -> None:
        """Nobody else holds the row."""
        rule, _, id = task.get_name().removeprefix(_PREFIX).partition(_HOLDS)
        seconds = _leases_of(self._scene.machines[machine].app).get(rule)
        if seconds is None:
            return
        lane = self._scene.loop.lane
        run, name = Run(machine, lane, task, lane.time() + seconds), f"{rule} for {id!r}"
        others = [other for other in self._runs.get(name, ()) if other.alive and not other.late]
        for other in others:
            left = other.until - other.lane.time()
            self._violate(f"{machine} runs {name}, which {other.machine} holds for another {left:.3f} s")
        self._runs[name] = [*others, run]
        if len(self._at) >= KEPT_MAX:
            self._tidy()
        self._at[task] = (name, run)

    def _commit(self, machine: str, task: asyncio.Task[Any] | None) -> None:
        """A run commits within its time."""
        if task in self._at:
            name, run = self._at[task]
            if run.late:
                late = run.lane.time() - run.until
                self._violate(f"{machine} commits what {name} did, {late:.3f} s after the end of its lease")

    def _tidy(self) -> None:
        """Forget the runs that are over; late ones may still commit."""
        self._at = {task: known for task, known in self._at.items() if known[1].alive}
        self._runs = {name: left for name, runs in self._runs.items() if (left := [one for one in runs if one.alive])}

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)


@per_app
def _leases_of(app: App) -> dict[str, float]:
    """For how long each rule holds a row, by `service.method`."""
    return {
        f"{part.name}.{method}": reaction.lease
        for part in app.parts
        for method, reaction in reactions_of(part.cls).items()
        if isinstance(reaction, Rule)
    }
