"""A machine as it really is: processes that listen, and a keeper that is told to start and to kill.

Nothing here decides what should be: it does what it is told, in its own time, and breaks. Whoever looks on is told.
"""

from __future__ import annotations

import heapq
import random  # noqa: TID251 - the type of what draws
from collections.abc import Callable
from dataclasses import dataclass, field

from hanse.control.edge_table import Server, Table
from hanse.deploy.memory import HOOK

PROMPT = 0.3
"""Seconds that an edge takes at most for a table, where nothing is wrong with it."""

HOOK_SECONDS = 6.0
"""That a release hook takes at most."""


@dataclass
class Process:
    """One process; it listens once it is up, and answers as its release does."""

    name: str
    service: str
    release: str
    port: int
    born: float
    up_at: float
    alive: bool = True
    hung_at: float = -1e9
    hung_until: float = 0.0
    stubborn: bool = False
    told_at: float = 0.0
    work: set[int] = field(default_factory=set)

    @property
    def instance(self) -> str:
        """The instance that it is a process of."""
        return self.name.rpartition(".")[0]

    def is_well(self, now: float) -> bool:
        """Whether it answers."""
        return self.alive and now >= max(self.up_at, self.hung_until)


@dataclass
class Request:
    """One of a visitor."""

    number: int
    service: str
    method: str
    user: str
    attempts: int = 0
    handled: int = 0
    tried: set[str] = field(default_factory=set)


class Looking:
    """Whoever looks on; each of these is told at once."""

    def launched(self, process: Process, among: list[Process]) -> None: ...
    def told_to_end(self, process: Process, number: int) -> None: ...
    def broke(self, process: Process, how: str) -> None: ...
    def gone(self, process: Process) -> None: ...
    def hooked(self, name: str) -> None: ...
    def shown(self, table: Table, before: Table) -> None: ...
    def sent(self, request: Request, server: Server, release: str, process: Process | None) -> None: ...
    def seated(self, request: Request, server: Server, release: str) -> None: ...
    def ended(self, request: Request, how: str, release: str, instance: str) -> None: ...
    def ejected(self, server: str, pool: list[str], out: set[str]) -> None: ...


class Premises:
    """See the module."""

    def __init__(self, chance: random.Random, looking: Looking) -> None:
        self.chance = chance
        self.looking = looking
        self.now = 0.0
        self.processes: dict[str, Process] = {}
        self.hooks: dict[str, str] = {}
        self.ended: dict[str, int] = {}
        self.memory = ""
        self.flaws: dict[str, str] = {}
        self.slow_until = self.late_until = 0.0
        self.tell: Callable[[str, int], None] = lambda name, code: None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    # Time

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Have something happen later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, do))

    def run(self, until: float, over: Callable[[], bool]) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until and not over():
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = max(self.now, until)

    # Processes

    @property
    def alive(self) -> list[Process]:
        """All that run."""
        return [one for one in self.processes.values() if one.alive]

    @property
    def held(self) -> dict[str, int]:
        """What the keeper has, and has not been told to forget: process ids by name."""
        return dict.fromkeys((*(one.name for one in self.alive), *self.hooks, *self.ended), 7)

    def launch(self, name: str, service: str, release: str, port: int) -> bool:
        """Start a process; whether that went well."""
        if self.now < self.slow_until and self.chance.random() < 0.1:
            return False
        start = self.chance.random() * (20.0 if self.now < self.slow_until else 1.0)
        flaw = self.flaws.get(release, "")
        one = Process(name, service, release, port, self.now, self.now + (1e9 if flaw == "deaf" else start))
        one.stubborn = self.chance.random() < 0.1
        self.looking.launched(one, self.alive)
        self.processes[name] = one
        if flaw == "crashes":
            self.after(start + self.chance.random() * 3.0, lambda: self.crash(one, 1))
        return True

    def hook(self, name: str, release: str) -> None:
        """Run a release hook."""
        self.looking.hooked(name)
        self.hooks[name] = release
        code = int(self.flaws.get(release) == "hook fails")
        self.after(self.chance.random() * HOOK_SECONDS, lambda: self._hook_ended(name, code))

    def _hook_ended(self, name: str, code: int) -> None:
        if self.hooks.pop(name, None) is not None:
            self._told(name, code)

    def signal(self, name: str, number: int) -> None:
        """What somebody tells a process."""
        if name in self.hooks:
            self.after(0.01 + self.chance.random() * 0.2, lambda: self._hook_ended(name, -number))
        one = self.processes.get(name)
        if one is None or not one.alive:
            return
        self.looking.told_to_end(one, number)
        one.told_at = one.told_at or self.now
        if number == 9 or not one.stubborn:
            self.after(0.01 + self.chance.random() * 0.2, lambda: self._end(one, -number))

    def crash(self, one: Process, code: int) -> None:
        """It ends by itself."""
        if one.alive:
            self.looking.broke(one, "crashed")
            self._end(one, code)

    def hang(self, one: Process, seconds: float) -> None:
        """It answers nobody for a while."""
        if one.alive:
            self.looking.broke(one, "hangs")
            one.hung_at, one.hung_until = self.now, self.now + seconds

    def forget(self, name: str) -> None:
        """The keeper is told that an end was heard."""
        _ = self.ended.pop(name, None)

    def power_off(self) -> None:
        """All ends, and nothing is left but what is on disk."""
        for one in self.alive:
            self.looking.broke(one, "lost power")
            one.alive = False
            self.looking.gone(one)
        self.processes, self.hooks, self.ended, self.memory = {}, {}, {}, ""

    def _end(self, one: Process, code: int) -> None:
        if one.alive:
            one.alive = False
            self.looking.gone(one)
            self._told(one.name, code)

    def _told(self, name: str, code: int) -> None:
        self.ended[name] = code
        self.tell(name, code)

    def in_flight(self, instance: str) -> int:
        """Requests under way at an instance."""
        return sum(len(one.work) for one in self.alive if one.instance == instance)


def is_hook(name: str) -> bool:
    """Whether that is the process of a release hook."""
    return name.startswith(HOOK)
