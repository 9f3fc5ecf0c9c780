"""A machine as it really is: processes that listen, a keeper that is told to start and to kill, an edge, and visitors.

Nothing here decides what should be: it does what it is told, in its own time, and breaks. Whoever looks on is told.
"""

from __future__ import annotations

import heapq
import random  # noqa: TID251 - the type of what draws
from collections.abc import Callable
from dataclasses import dataclass, field

from hanse.control.edge_choice import Asking, Choices
from hanse.control.edge_figures import Counts, Figures, Key, Line
from hanse.control.edge_health import may_eject
from hanse.control.edge_retry import Failure, Tried, next_step
from hanse.control.edge_table import Server, Table, Target, checked

PROMPT = 0.3
"""Seconds that an edge takes at most for a table, where nothing is wrong with it."""

EJECTED_SECONDS = 1.0
"""For which a server is left alone."""

USERS = 40
WORK_SECONDS = 0.4
"""That a request takes at most."""


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
    def broke(self, process: Process) -> None: ...
    def shown(self, table: Table, before: Table) -> None: ...
    def sent(self, request: Request, server: Server, process: Process | None) -> None: ...
    def ended(self, request: Request, how: str, release: str) -> None: ...
    def ejected(self, server: str, pool: list[str], out: set[str]) -> None: ...


class Premises:
    """See the module."""

    def __init__(self, chance: random.Random, looking: Looking) -> None:
        self.chance = chance
        self.looking = looking
        self.now = 0.0
        self.processes: dict[str, Process] = {}
        self.ended: dict[str, int] = {}
        self.memory = ""
        self.flaws: dict[str, str] = {}
        self.slow_until = self.away_until = self.away_since = self.late_until = 0.0
        self.choices = Choices(Table())
        self.began = 0.0
        self.tell: Callable[[str, int], None] = lambda name, code: None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._counts: dict[Key, Counts] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._out: dict[str, float] = {}

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

    def signal(self, name: str, number: int) -> None:
        """What somebody tells a process."""
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
            self.looking.broke(one)
            self._end(one, code)

    def hang(self, one: Process, seconds: float) -> None:
        """It answers nobody for a while."""
        if one.alive:
            self.looking.broke(one)
            one.hung_at, one.hung_until = self.now, self.now + seconds

    def _end(self, one: Process, code: int) -> None:
        if one.alive:
            one.alive = False
            self.ended[one.name] = code
            self.tell(one.name, code)

    # The edge

    @property
    def table(self) -> Table:
        """The one in force."""
        return self.choices.table

    def take(self, table: Table) -> bool:
        """Have the edge show a table; False while it is away."""
        if self.now < self.away_until:
            return False
        before, self.choices = self.table, Choices(checked(table))
        self.looking.shown(table, before)
        return True

    def lose_edge(self, seconds: float, *, crash: bool) -> None:
        """The edge hears nothing for a while; one that crashed has no table, and has counted nothing."""
        self.away_since, self.away_until = self.now, self.now + seconds
        if crash:
            self.choices, self._counts, self.began = Choices(Table()), {}, self.now

    def was_away(self, since: float) -> bool:
        """Whether the edge was away at any moment from then on."""
        return self.away_until + PROMPT >= since and self.away_since > 0.0

    def in_flight(self, instance: str) -> int:
        """Requests under way at an instance."""
        return sum(len(one.work) for one in self.alive if one.name.rpartition(".")[0] == instance)

    def figures(self) -> Figures:
        """What the edge has counted."""
        lines = tuple(Line(key, counts) for key, counts in self._counts.items())
        return Figures(since=self.began, revision=self.table.revision, lines=lines)

    # Visitors

    def ask(self, number: int, service: str) -> None:
        """A visitor asks."""
        method = self.chance.choice(("GET", "POST", "POST", "PUT"))
        self._try(Request(number, service, method, f"u{self.chance.randrange(USERS)}"))

    def _try(self, request: Request) -> None:
        target = self.choices.targets.get(request.service)
        if target is None:
            return
        asking = Asking(lambda name: request.user if name == "x-user-id" else "", {}, "10.0.0.1")
        release = self.choices.release(target, asking, self.chance.random).release
        server, where = self._picked(request, target, release, asking)
        request.attempts += 1
        if server is None:
            self.looking.ended(request, "unavailable", release)
            return
        process = next((one for one in self.alive if one.port == server.port), None)
        self.looking.sent(request, server, process)
        request.tried.add(server.id)
        if process is None or not process.is_well(self.now):
            late = process is not None and self.now >= process.up_at
            self._failed(request, target, server, where, Failure.LATE if late else Failure.UNSENT)
            return
        process.work.add(request.number)
        seconds = self.chance.random() * WORK_SECONDS
        self.after(seconds, lambda: self._answered(request, target, server, where, process))

    def _picked(self, request: Request, target: Target, release: str, asking: Asking) -> tuple[Server | None, str]:
        out = {name for name, until in self._out.items() if until > self.now} | request.tried
        first = self.choices.pools.get((target.service, release))
        for turns in [*([first] if first else []), *self.choices.others(target, release)]:
            key = (target.service, turns.pool.release)
            turn = self._turns[key] = self._turns.get(key, 0) + 1
            if (server := turns.pick(turn, asking, {}, self.chance.random, out)) is not None:
                return server, turns.pool.release
        return None, release

    def _failed(self, request: Request, target: Target, server: Server, release: str, failure: Failure) -> None:
        turns = self.choices.pools.get((target.service, release))
        pool = [one.id for one in turns.up] if turns is not None and failure is Failure.UNSENT else []
        out = {name for name, until in self._out.items() if until > self.now}
        if may_eject(server.id, pool, out):
            self._out[server.id] = self.now + EJECTED_SECONDS
            self.looking.ejected(server.id, pool, out | {server.id})
        others = any(one.id not in request.tried for turns in self.choices.pools.values() for one in turns.up)
        tried = Tried(request.method, keyed=False, attempts=request.attempts, kept=True, others=others)
        step = next_step(failure, tried, target.retries)
        if step == "again":
            self.after(0.05, lambda: self._try(request))
            return
        self._count_one(server, target.service, release, failed=True)
        self.looking.ended(request, step, release)

    def _answered(self, request: Request, target: Target, server: Server, release: str, process: Process) -> None:
        process.work.discard(request.number)
        request.handled += 1
        if not process.alive:
            self._failed(request, target, server, release, Failure.UNHEARD)
            return
        bad = self.flaws.get(process.release) == "errors" and self.chance.random() < 0.5
        self._count_one(server, target.service, release, failed=bad)
        self.looking.ended(request, "error" if bad else "answered", process.release)

    def _count_one(self, server: Server, service: str, release: str, *, failed: bool) -> None:
        counts = self._counts.setdefault(Key(service, release, server.id, "/"), Counts())
        counts.requests += 1
        counts.errors += failed
