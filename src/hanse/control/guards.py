"""Hard guards: what speaks against a new release without any comparison of rates. They are pure, and of bounded size.

Each says what it has seen, and whether that is enough to roll back at once, or only to go no further. What would befall
the old release as well is held against nobody: where both fail, both suffer from the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from hanse.control.appetite import Appetite
from hanse.control.leak import Memory
from hanse.control.signal import Signal
from hanse.control.window import Both, Condition, Outcomes, Window, folded, total

FAILED_MIN = 20
"""Requests of one route, all of which failed."""

ROUTES_MAX = 128
"""Routes that are looked at by themselves for that."""

UNREADY_SECONDS = 10.0
"""How long an instance may have lost its readiness before that is held against its release."""

LAG_SECONDS_MIN = 0.1
"""By how much an event loop has to be late, to be late at all."""

LAG_TIMES = 3.0
"""And how many times as late as that of the old release."""

LAG_LASTS_SECONDS = 15.0
"""How long it may be late."""

ALL_NEW = 0.0001
"""All dead letters are the new release's: the chance of that by its share of messages, below which it is no chance."""

LEAK_ENDS_SECONDS, LEAK_DOUBLES_SECONDS = 3_600.0, 600.0
"""Memory that would be used up within that time leaks; where nobody knows how much there is, would be twice as much."""

RISE_ENDS_SECONDS, RISE_DOUBLES_SECONDS = 300.0, 60.0
"""The same of what is seen to grow for a few seconds."""

INSTANCES_MAX = 16
"""Instances whose memory is looked at."""

RESTARTS = 3
"""Ends of a release's processes that nobody had asked for, while the other one has none, that are no chance."""

RESTART_SECONDS = 60.0
"""How long after one of them it goes no further."""


class Row(msgspec.Struct, frozen=True):
    """Requests of one route that failed, all of those of the new release since one did not.

    Attributes:
        new: How many.
        old, old_failed: What came of those of the old one meanwhile.
        others: Requests that the old one had on any route meanwhile.
    """

    new: int = 0
    old: int = 0
    old_failed: int = 0
    others: int = 0


class Guarded(msgspec.Struct, frozen=True):
    """What the guards remember.

    Attributes:
        now, old: How the instances of both are.
        rows: Routes of which all fails lately.
        broken, old_broken: Answers that did not fit the contract.
        letters, old_letters: Messages that were parked.
        unlikely: The chance that all of these are the new release's, by its share.
        restarts, old_restarts: Ends of processes that nobody had asked for.
        restarted_at: When the new release had the last of them; below 0 for never.
        appetite: Since when the new release takes too much of the machine.
        late_since: When the event loop of the new one began to be late, in seconds; below 0 for not at all.
        at: Seconds of the last window.
        memory, old_memory: Of the new release's instances, and of one of the old ones on average.
    """

    now: Condition = Condition()
    old: Condition = Condition()
    rows: dict[str, Row] = {}
    broken: int = 0
    old_broken: int = 0
    letters: int = 0
    old_letters: int = 0
    unlikely: float = 1.0
    restarts: int = 0
    old_restarts: int = 0
    restarted_at: float = -1.0
    appetite: Appetite = Appetite()
    late_since: float = -1.0
    at: float = 0.0
    memory: dict[str, Memory] = {}
    old_memory: Memory = Memory()

    def after(self, window: Window) -> Guarded:
        """What they remember after one more window."""
        new, old = window.new, window.old
        late = new.lag > max(LAG_SECONDS_MIN, LAG_TIMES * old.lag)
        return replace(
            self,
            now=new,
            old=old,
            at=window.at,
            rows=_rows(self.rows, window.routes),
            broken=self.broken + new.contract_broken,
            old_broken=self.old_broken + old.contract_broken,
            letters=self.letters + new.dead_letters,
            old_letters=self.old_letters + old.dead_letters,
            unlikely=self.unlikely * _share(window) ** new.dead_letters,
            restarts=self.restarts + new.restarts,
            old_restarts=self.old_restarts + old.restarts,
            restarted_at=window.at if new.restarts else self.restarted_at,
            appetite=self.appetite.after(window),
            late_since=(window.at if self.late_since < 0.0 else self.late_since) if late else -1.0,
            memory=_memory(self.memory, new, window.at),
            old_memory=_average(self.old_memory, old, window.at),
        )

    def signals(self) -> tuple[Signal, ...]:
        """All that speaks against the new release now, what is certain first."""
        found = (*self._instances(), *self._restarts(), *self._answers(), *self._late(), *self._leaks())
        found = (*found, *self.appetite.signals(self.now, self.old, self.at))
        return tuple(sorted(found, key=lambda one: not one.certain))

    def _instances(self) -> Iterator[Signal]:
        if self.now.crashing:
            yield Signal("crash loop", f"{_names(self.now.crashing)} crashes again and again")
        if self.now.killed:
            yield Signal("out of memory", f"{_names(self.now.killed)} was killed as it took too much memory")
        for name, seconds in sorted(self.now.unready.items()):
            certain = seconds >= UNREADY_SECONDS
            yield Signal("readiness", f"{name} was ready, and has not been for {seconds:.0f} s", certain=certain)

    def _restarts(self) -> Iterator[Signal]:
        certain = self.restarts >= RESTARTS * (1 + self.old_restarts)
        lately = self.restarted_at >= 0.0 and self.at - self.restarted_at < RESTART_SECONDS
        if certain or lately:
            says = f"its processes ended {self.restarts} times; those of the old release {self.old_restarts} times"
            yield Signal("restarts", says, certain=certain)

    def _answers(self) -> Iterator[Signal]:
        if self.broken and not self.old_broken:
            yield Signal("contract", f"{self.broken} answers do not fit the contract, and none of the old release's")
        if self.letters and not self.old_letters and self.unlikely < ALL_NEW:
            yield Signal("dead letters", f"{self.letters} messages were parked, and none of the old release's")
        for route, row in sorted(self.rows.items()):
            alone = row.old_failed < row.old / 2.0 if row.old else not row.others
            if row.new >= FAILED_MIN and alone:
                yield Signal("all failed", f"the last {row.new} requests of {route} all failed")

    def _late(self) -> Iterator[Signal]:
        if self.late_since < 0.0:
            return
        seconds = self.at - self.late_since
        says = (
            f"its event loop is {self.now.lag:.1f} s late, for {seconds:.0f} s; the old release's {self.old.lag:.1f} s"
        )
        yield Signal("event loop", says, certain=seconds >= LAG_LASTS_SECONDS)

    def _leaks(self) -> Iterator[Signal]:
        most, before = self.now.memory_max, self.old_memory
        slowly, fast = (LEAK_ENDS_SECONDS, RISE_ENDS_SECONDS) if most else (LEAK_DOUBLES_SECONDS, RISE_DOUBLES_SECONDS)
        for name, memory in sorted(self.memory.items()):
            if not memory.beyond(before.peak):
                continue
            used = memory.points[-1][1]
            left = max(0.0, most - used) if most else used
            if memory.slope * slowly > left and memory.slope > 2.0 * before.slope:
                yield _leak(name, memory.slope, left, most)
            elif before.peak and memory.rise * fast > left and memory.rise > 2.0 * before.rise:
                yield _leak(name, memory.rise, left, most)


def _leak(name: str, slope: float, left: float, most: float) -> Signal:
    comes = "has used up all it may have" if most else "needs twice as much"
    seconds = left / slope
    soon = f"{seconds / 60:.0f} min" if seconds >= 60.0 else f"{seconds:.0f} s"  # noqa: PLR2004 - of a minute
    return Signal("memory", f"{name} needs {slope / 2**20:.2f} MiB more each second, and {comes} in {soon}")


def _rows(rows: Mapping[str, Row], routes: Mapping[str, Both]) -> dict[str, Row]:
    others = sum(total(both.old.values()).asked for both in routes.values())
    known = folded(routes, rows, ROUTES_MAX)
    found = {route: replace(row, others=row.others + others) for route, row in rows.items() if route not in known}
    for route, both in known.items():
        row, new, old = rows.get(route, Row()), total(both.new.values()), total(both.old.values())
        if new.failed < new.asked:
            continue
        if row.new or new.asked:
            found[route] = _longer(row, new, old, others)
    return found


def _longer(row: Row, new: Outcomes, old: Outcomes, others: int) -> Row:
    return Row(row.new + new.asked, row.old + old.asked, row.old_failed + old.failed, row.others + others)


def _share(window: Window) -> float:
    """The part of all requests and messages that the new release had; of nothing, half, as nobody knows."""
    new = sum(total(both.new.values()).asked for both in window.routes.values())
    old = sum(total(both.old.values()).asked for both in window.routes.values())
    return new / (new + old) if new + old else 0.5


def _memory(known: Mapping[str, Memory], now: Condition, at: float) -> dict[str, Memory]:
    """Only of instances that are there: one that has started anew begins anew."""
    names: Iterable[str] = sorted(now.memory)[:INSTANCES_MAX]
    return {name: known.get(name, Memory()).after(at, now.memory[name]) for name in names}


def _average(known: Memory, old: Condition, at: float) -> Memory:
    used = old.memory.values()
    return known.after(at, sum(used) / len(used), peak=max(used)) if used else known


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
