"""What is bounded stays within its bounds: retries, events under way, handlers that run, packets.

Retries are counted on the wire: one call is tried so often at most, and the retries of one process to one contract are
paid from its budget. What never reaches the wire, such as a call that a breaker refuses, earns and spends as well; so
a budget is held to be overdrawn only past as much again as it may ever hold.
"""

from __future__ import annotations

import msgspec

from hanse.delivery.relay import WINDOW_MAX
from hanse.kernel.message import CALL, EVENT, REPLY, Message
from hanse.mesh.retry import BUDGET_MAX, BUDGET_RATIO, RETRIES_MAX
from hanse.sim.check import Observer
from hanse.sim.observe.scene import Scene

PACKETS_MAX = 100_000
"""Packets under way at once; an app that has more of them sends without waiting for anything."""

IDS_MAX = 10_000
"""Calls whose tries are counted; past it, those that were answered long ago are forgotten."""


class Budget(msgspec.Struct):
    """What the retries of one process to one contract are paid from, as far as the wire shows.

    Attributes:
        tokens: What is left; below zero, what must have been earned unseen.
        tries: How often each call was tried.
        told: Whether it was told that too much was spent.
    """

    tokens: float
    tries: dict[str, int]
    told: bool = False


class Bounds(Observer):
    """Finds what goes beyond what it may."""

    name: str = "bounds"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first message."""
        self._scene = scene
        self._budgets: dict[tuple[str, str, str], Budget] = {}
        self._events: dict[tuple[str, str], set[str]] = {}
        self._crowded: set[str] = set()
        self._flooded = False

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """A message leaves."""
        if asked is None:
            if message.kind is CALL:
                self._call(source, message)
            elif message.kind is EVENT:
                self._event(source, message)
        elif asked.kind is EVENT and message.kind is REPLY:
            self._events.get((target, asked.address), set()).discard(asked.id)
        if asked is not None:
            self._running(source)
        if self._scene.net.under_way > PACKETS_MAX and not self._flooded:
            self._flooded = True
            self._violate(f"{self._scene.net.under_way} packets are under way at once; expected {PACKETS_MAX} at most")

    def died(self, machine: str, *, dark: bool) -> None:
        """What a process had under way is its successor's to begin anew."""
        del dark
        for key in [key for key in self._events if key[0] == machine]:
            del self._events[key]

    def _call(self, source: str, message: Message) -> None:
        """A call is tried: for the first time, or again, which has to be paid."""
        caller, contract = message.id.rpartition("-")[0], message.address.rpartition(".")[0]
        budget = self._budgets.get((source, caller, contract))
        if budget is None:
            budget = self._budgets[source, caller, contract] = Budget(BUDGET_MAX, {})
        tries = budget.tries[message.id] = budget.tries.pop(message.id, 0) + 1
        if tries == 1:
            budget.tokens = min(BUDGET_MAX, budget.tokens + BUDGET_RATIO)
            if len(budget.tries) > IDS_MAX:
                del budget.tries[next(iter(budget.tries))]
        if message.headers.attempt > 1:
            budget.tokens -= 1.0
        if max(tries, message.headers.attempt) == RETRIES_MAX + 2:
            self._violate(
                f"{source} tries {message.address} {message.id} for the time {RETRIES_MAX + 2}; expected "
                f"{RETRIES_MAX} retries at most"
            )
        if budget.tokens < -BUDGET_MAX and not budget.told:
            budget.told = True
            self._violate(
                f"{source} retries {message.address} {message.id}, and so many calls of {contract} before it that it "
                f"has overdrawn its budget by {-budget.tokens:.1f}; expected at most {BUDGET_MAX:g} and one for each "
                f"{1 / BUDGET_RATIO:g} calls"
            )

    def _event(self, source: str, message: Message) -> None:
        """A relay delivers no more at once than its window holds."""
        under_way = self._events.setdefault((source, message.address), set())
        under_way.add(message.id)
        if len(under_way) == WINDOW_MAX + 1:
            self._violate(f"{source} has {len(under_way)} events under way to {message.address}; expected {WINDOW_MAX}")

    def _running(self, machine: str) -> None:
        """A node runs no more handlers at once than it may."""
        found = self._scene.machines.get(machine)
        if found is None:
            return
        most = found.settings.node.calls_max
        running = found.serving(more_than=most)
        if running > most and machine not in self._crowded:
            self._crowded.add(machine)
            self._violate(f"{machine} runs {running} handlers at once; expected {most} at most")

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)
