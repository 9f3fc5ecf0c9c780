"""Whoever releases: takes rollouts and their sets from beat to beat. Its rows outlive it; what it has in mind does not.

It writes what `hanse.control.releases` writes, and in the same commits; the ground is that of the platform.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from msgspec.structs import replace

from hanse.control.edge_table import WHOLE
from hanse.control.ground import wanted_of
from hanse.control.judged import Judgement, Tally, copied, judgement_of, looked, window_between
from hanse.control.plan import Plan
from hanse.control.release_set import LIVE_SETS, Member, ReleaseSet, callers_of, in_order, next_of
from hanse.control.released import BASE, Overlay, overlay_for
from hanse.control.releases import is_news, judged_by, seen_of
from hanse.control.rollout import ENDED, Rollout
from hanse.control.rollout_machine import beat, begun, commanded
from hanse.deploy.local_ground import LocalGround
from hanse.kernel.faults import Conflict

from .steering import Supervisor, Yard

T = TypeVar("T")


class Releaser:
    """See the module."""

    def __init__(self) -> None:
        self.rows: list[Rollout] = []
        self.sets: list[ReleaseSet] = []
        self.standing: dict[str, tuple[str, int]] = {}
        self.vetoes: set[tuple[str, str]] = set()
        self.taken_along: set[str] = set()
        self.condemned: set[str] = set()
        self.written: Callable[[Rollout, Rollout], None] = lambda before, after: None
        self._kept: dict[str, Judgement] = {}
        self._positions = 0
        self.forget()

    def forget(self) -> None:
        """It was killed."""
        self._looked: dict[str, float] = {}
        self._tallies: dict[str, Tally] = {}
        self._working: dict[str, Rollout] = {}
        self._judgements: dict[str, Judgement] = {}
        self._grounds: dict[int, LocalGround] = {}

    @property
    def live(self) -> list[Rollout]:
        """Those that are on their way."""
        return [row for row in self.rows if row.state not in ENDED]

    def may_begin(self, service: str, new: str) -> bool:
        """Whether a release may begin."""
        old = self.standing.get(service, (BASE, 0))[0]
        return (service, new) not in self.vetoes and old != new and all(row.service != service for row in self.live)

    def release(self, service: str, new: str, plan: Plan, now: float, release_set: str = "") -> bool:
        """Begin one; whether that may be."""
        if not self.may_begin(service, new):
            return False
        old, count = self.standing.get(service, (BASE, 0))[0], plan.steps[-1].new
        row = Rollout(
            id=f"r{len(self.rows)}",
            service=service,
            old=old,
            new=new,
            new_source=new,
            old_source="" if old == BASE else old,
            plan=plan,
            instances=count,
            release_set=release_set,
            kept_warm=bool(release_set),
        )
        self.rows.append(row)
        self.write(row, begun(row, at=now))
        return True

    def release_set(self, members: list[Member]) -> bool:
        """Begin several as one; whether that may be."""
        if not all(self.may_begin(one.service, one.new) for one in members):
            return False
        self.sets.append(ReleaseSet(id=f"s{len(self.sets)}", members=in_order(members)))
        return True

    def write(self, before: Rollout, after: Rollout) -> None:
        """Keep a row, and what goes with its end."""
        self._positions += 1
        after = replace(after, rev=self._positions)
        self.written(before, after)
        self.rows = [after if row.id == before.id else row for row in self.rows]
        for remembered in (self._working, self._judgements):
            _ = remembered.pop(before.id, None)
        if after.state in ENDED:
            self._positions += 1
            release = after.new if after.state == "done" else after.old
            self.standing[after.service] = (release, self._positions)
            if after.state == "rolled_back" and after.blamed:
                self.vetoes.add((after.service, after.new))
        if after.release_set and after.state == "rolling_back" != before.state:
            self._take_along(after)

    def _take_along(self, row: Rollout) -> None:
        """Those go back at once that came after it in its set."""
        whole = next(one for one in self.sets if one.id == row.release_set)
        rollouts = {one.service: one for one in self.rows if one.release_set == whole.id}
        for one in callers_of(whole, row.service, rollouts):
            self.taken_along.add(one.id)
            self.write(one, commanded(one, "abort", who="its set", at=0.0))

    def work(self, row: Rollout) -> Rollout:
        """A row with the seconds that were not written yet."""
        return self._working.get(row.id, row)

    def recall(self, supervisor: Supervisor) -> None:
        """Have services begin with the releases that they had."""
        wishes = supervisor.memory.wishes
        found = dict(wishes.overlays)
        recalled = {
            name: Overlay(release, "" if release == BASE else release, position=position)
            for name, (release, position) in self.standing.items()
        }
        recalled |= {row.service: overlay_for(wanted_of(row)) for row in self.live}
        for name, overlay in recalled.items():
            known = found.get(name)
            if known is None or known.position < overlay.position:
                found[name] = overlay
        supervisor.memory = replace(supervisor.memory, wishes=replace(wishes, overlays=found))

    def beat(self, supervisor: Supervisor) -> None:
        """One beat of all that is on its way; what is not runs as it stands."""
        ground = self._grounds.setdefault(id(supervisor), LocalGround(Yard(supervisor)))
        for row in self.live:
            if not supervisor.dead:
                self._beat(row, supervisor, ground)
        busy = {row.service for row in self.live}
        for service, (release, position) in self.standing.items():
            if service not in busy and not supervisor.dead:
                at_once(ground.settle(service, release, "" if release == BASE else release, position))
        for one in [one for one in self.sets if one.state in LIVE_SETS]:
            try:
                self._carry_set_on(one, supervisor.clock())
            except Conflict:
                continue  # as a rule that fails: it is tried again

    def _beat(self, kept: Rollout, supervisor: Supervisor, ground: LocalGround) -> None:
        row = self.work(kept)
        sight = at_once(ground.carry(wanted_of(row)))
        if supervisor.dead:
            return
        now = supervisor.clock()
        seconds = now - self._looked.get(row.id, now)
        self._looked[row.id] = now
        known = self._judgements.get(row.id) or self._kept.get(row.id) or judgement_of(row.id)
        window = window_between(self._tallies.get(row.id), sight.tally, row.lived)
        self._tallies[row.id] = sight.tally
        known = copied(known, sight.pairs, row.lived)
        judged, verdict = looked(known, window, row.step, row.plan, alone=sight.share == WHOLE)
        seen = judged_by(seen_of(sight, row, in_force=True, seconds=seconds, at=now), verdict)
        if row.now.mirrored:
            seen = replace(seen, requests=judged.mirrored.pairs)
        after = beat(row, seen)
        if verdict.decision == "roll_back":
            self.condemned.add(row.id)
        if is_news(kept, after):
            self._kept[row.id] = judged
            self.write(kept, after)
        else:
            self._working[row.id], self._judgements[row.id] = after, judged

    def _carry_set_on(self, row: ReleaseSet, at: float) -> None:
        rollouts = {one.service: one for one in self.rows if one.release_set == row.id}
        doing = next_of(row, rollouts)
        after, begin = doing.row, doing.begin
        if begin is not None and not self.release(begin.service, begin.new, begin.plan, at, row.id):
            after = replace(row, state="rolling_back", why=f"{begin.service} cannot begin")
        ends = [(rollouts[one], commanded(rollouts[one], "promote", who="its set", at=at)) for one in doing.end]
        if doing.abort:
            one = rollouts[doing.abort]
            self.taken_along.add(one.id)
            ends.append((one, commanded(one, "abort", who="its set", at=at)))
        for before, ended in ends:
            self.write(before, ended)
        self.sets = [after if one.id == row.id else one for one in self.sets]


def at_once(doing: Coroutine[Any, Any, T]) -> T:
    """What something comes to that waits for nobody here."""
    try:
        doing.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    raise AssertionError("it waits")
