"""The edge of premises, and who comes there: visitors who stay whom they are, with the cookies that they were given.

Whom it asks is decided by what the platform's own edge decides with; it breaks by itself, and counts what it answers.
"""

from __future__ import annotations

from hanse.control import edge_health
from hanse.control.edge_choice import Asking, Choices, Turns
from hanse.control.edge_figures import Counts, Figures, Key, Line
from hanse.control.edge_mirror import Heard, Pair, Pairs
from hanse.control.edge_retry import Failure, Tried, next_step
from hanse.control.edge_table import WHOLE, Server, Table, Target, checked
from hanse.kernel.faults import Unavailable

from .premises import PROMPT, Premises, Process, Request

EJECTED_SECONDS = 1.0
"""For which a server is left alone."""

USERS = 40
WORK_SECONDS = 0.4
"""That a request takes at most."""


class Door:
    """See the module."""

    def __init__(self, premises: Premises) -> None:
        self.premises = premises
        self.choices = Choices(Table())
        self.away_until = self.away_since = 0.0
        self._began = 0.0
        self._counts: dict[Key, Counts] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._out: dict[str, float] = {}
        self._cookies: dict[str, dict[str, str]] = {}
        self._pairs: list[Pair] = []

    @property
    def table(self) -> Table:
        """The one in force."""
        return self.choices.table

    @property
    def is_away(self) -> bool:
        """Whether it hears nothing."""
        return self.premises.now < self.away_until

    def take(self, table: Table) -> bool:
        """Have the edge show a table; False while it is away."""
        if self.is_away:
            return False
        before, self.choices = self.table, Choices(checked(table))
        self.premises.looking.shown(table, before)
        return True

    def lose(self, seconds: float, *, crash: bool) -> None:
        """The edge hears nothing for a while; one that crashed has no table, and has counted nothing."""
        self.away_since, self.away_until = self.premises.now, self.premises.now + seconds
        if crash:
            self.choices, self._counts, self._began = Choices(Table()), {}, self.premises.now
            self._pairs = []

    def was_away(self, since: float) -> bool:
        """Whether the edge was away at any moment from then on."""
        return self.away_until + PROMPT >= since and self.away_since > 0.0

    def figures(self) -> Figures:
        """What the edge has counted. Raises `Unavailable` while it is away."""
        if self.is_away:
            raise Unavailable("edge")
        lines = tuple(Line(key, counts) for key, counts in self._counts.items())
        return Figures(since=self._began, revision=self.table.revision, lines=lines)

    def pairs(self) -> Pairs:
        """Answers to copies since it was asked last. Raises `Unavailable` while it is away."""
        if self.is_away:
            raise Unavailable("edge")
        pairs, self._pairs = tuple(self._pairs), []
        return Pairs(pairs=pairs)

    def is_out(self, server: str) -> bool:
        """Whether a server is left alone."""
        return self._out.get(server, 0.0) > self.premises.now

    # Visitors

    def ask(self, number: int, service: str) -> None:
        """A visitor asks."""
        chance = self.premises.chance
        method = chance.choice(("GET", "POST", "POST", "PUT"))
        request = Request(number, service, method, f"u{chance.randrange(USERS)}")
        target = self.choices.targets.get(service)
        if target is not None and target.mirror is not None and method in target.mirror.methods:
            self._copy(request, target)
        self._try(request)

    def _copy(self, request: Request, target: Target) -> None:
        """A copy goes to another release, and nobody hears what it answers."""
        mirror, draw = target.mirror, self.premises.chance.random
        assert mirror is not None
        turns = self.choices.pools[target.service, mirror.release]
        if draw() * WHOLE < mirror.points and (server := turns.pick(0, self._asking(request), {}, draw, ())):
            bad = self.premises.flaws.get(mirror.release) == "errors" and draw() < 0.5
            self._pairs.append(
                Pair(
                    service=target.service,
                    route="/",
                    method=request.method,
                    target="/",
                    trace_id="",
                    release="",
                    mirror=server.id,
                    copied=Heard(status=500 if bad else 200),
                )
            )

    def _asking(self, request: Request) -> Asking:
        cookies = self._cookies.get(request.user, {})
        return Asking(lambda name: request.user if name == "x-user-id" else "", cookies, "10.0.0.1")

    def _try(self, request: Request) -> None:
        target = self.choices.targets.get(request.service)
        if target is None:
            return
        asking = self._asking(request)
        release = self.choices.release(target, asking, self.premises.chance.random).release
        server, where = self._picked(request, target, release, asking)
        request.attempts += 1
        if server is None:
            self.premises.looking.ended(request, "unavailable", release, "")
            return
        process = next((one for one in self.premises.alive if one.port == server.port), None)
        self.premises.looking.sent(request, server, where, process)
        request.tried.add(server.id)
        now = self.premises.now
        if process is None or not process.is_well(now):
            late = process is not None and now >= process.up_at
            self._failed(request, target, server, where, Failure.LATE if late else Failure.UNSENT)
            return
        process.work.add(request.number)
        seconds = self.premises.chance.random() * WORK_SECONDS
        self.premises.after(seconds, lambda: self._answered(request, target, server, where, process))

    def _picked(self, request: Request, target: Target, release: str, asking: Asking) -> tuple[Server | None, str]:
        """Who is asked: at home first, then at the others; one that failed here only where there is nobody else."""
        home = self.choices.pools.get((target.service, release))
        pools = [*([home] if home else []), *self.choices.others(target, release)]
        out = {name for name in self._out if self.is_out(name)} | request.tried
        for without in (out, set[str]()):
            for turns in pools:
                if (server := self._in_pool(turns, asking, without)) is not None:
                    return server, turns.pool.release
        return None, release

    def _in_pool(self, turns: Turns, asking: Asking, out: set[str]) -> Server | None:
        server = self.choices.sticky(turns, asking)
        if server is not None and server.id not in out:
            return server
        key = (turns.pool.service, turns.pool.release)
        turn = self._turns[key] = self._turns.get(key, 0) + 1
        return turns.pick(turn, asking, {}, self.premises.chance.random, out)

    def _failed(self, request: Request, target: Target, server: Server, release: str, failure: Failure) -> None:
        turns = self.choices.pools.get((target.service, release))
        pool = [one.id for one in turns.up] if turns is not None and failure is Failure.UNSENT else []
        out = {name for name in self._out if self.is_out(name)}
        if edge_health.may_eject(server.id, pool, out):
            self._out[server.id] = self.premises.now + EJECTED_SECONDS
            self.premises.looking.ejected(server.id, pool, out | {server.id})
        tried = Tried(request.method, keyed=False, attempts=request.attempts, kept=True, others=self._others(request))
        step = next_step(failure, tried, target.retries)
        if step == "again":
            self.premises.after(0.05, lambda: self._try(request))
            return
        self._count_one(server, target.service, release, failed=True)
        self.premises.looking.ended(request, step, release, server.id)

    def _others(self, request: Request) -> bool:
        """Whether there is a server that a request was not tried at."""
        pools = [one for (service, _), one in self.choices.pools.items() if service == request.service]
        return any(one.id not in request.tried and not self.is_out(one.id) for turns in pools for one in turns.up)

    def _answered(self, request: Request, target: Target, server: Server, release: str, process: Process) -> None:
        process.work.discard(request.number)
        request.handled += 1
        if not process.alive:
            self._failed(request, target, server, release, Failure.UNHEARD)
            return
        bad = self.premises.flaws.get(process.release) == "errors" and self.premises.chance.random() < 0.5
        self._count_one(server, target.service, release, failed=bad)
        pool = self.choices.pools.get((target.service, release))
        if pool is not None and pool.pool.sticky:
            self._cookies.setdefault(request.user, {})[pool.pool.sticky] = pool.pool.seat(server)
            self.premises.looking.seated(request, server, release)
        self.premises.looking.ended(request, "error" if bad else "answered", process.release, process.instance)

    def _count_one(self, server: Server, service: str, release: str, *, failed: bool) -> None:
        counts = self._counts.setdefault(Key(service, release, server.id, "/"), Counts())
        counts.requests += 1
        counts.errors += failed
