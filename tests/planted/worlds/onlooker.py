"""Looks on while a system is steered: by what happens to processes, tables and requests, and by nothing that decides.

It knows what was wished for, as whoever wished it does, and which processes broke by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hanse.control.edge_table import WHOLE, Server, Table

from .premises import PROMPT, Looking, Premises, Process, Request

SEEN_SECONDS = 5.0
"""How long a stop waits for an edge that says nothing."""

HARMED_MAX = 150
"""Visitors that one bad release answers with errors, at most, before it is gone."""

STARTS_MAX, STARTS_SECONDS = 20, 60.0
"""Starts of one instance, and within how long there may be so many."""

BROKEN_SECONDS = 120.0
"""For which those who broke by themselves may be missing: until that is seen, and others are up."""


@dataclass
class Floor:
    """How many of a service have to be there.

    Attributes:
        wanted: How many were wished for.
        reached: Whether there were so many since; before, nobody can want them.
        broke: When some of them broke by themselves.
    """

    wanted: int
    reached: bool = False
    broke: tuple[float, ...] = ()


class Onlooker(Looking):
    """See the module."""

    def __init__(self, violate: Callable[[str, str], None]) -> None:
        self._violate = violate
        self.over = False
        self.premises: Premises
        self.floors: dict[str, Floor] = {}
        self.needs: dict[str, tuple[str, ...]] = {}
        self.stopping = False
        self.back: dict[str, float] = {}
        self.steered_anew = -1.0
        self._starts: dict[str, list[float]] = {}
        self._harmed: dict[str, int] = {}
        self._shares: dict[str, tuple[str, str, int]] = {}
        self._homes: dict[tuple[str, str, str], str] = {}

    def violate(self, what: str, detail: str) -> None:
        """Something does not hold; the first of it is enough."""
        if not self.over:
            self.over = True
            self._violate(what, f"{self.premises.now:.2f} s: {detail}")

    # What was wished

    def wish(self, service: str, count: int) -> None:
        """Somebody wants so many of a service."""
        known = self.floors.get(service)
        if known is None or known.wanted != count:
            reached = known is not None and known.reached and count < known.wanted
            self.floors[service] = Floor(count, reached, known.broke if known else ())

    def look(self) -> None:
        """Count who is there."""
        for service, floor in self.floors.items():
            there = sum(self._serves(one) for one in self.premises.alive if one.service == service)
            if there >= floor.wanted:
                floor.reached = True
            elif self.rests_on_flawed(service):
                floor.reached = False
            elif floor.reached and not self.stopping and there < floor.wanted - self._broken(service):
                self.violate("capacity", f"{there} of {floor.wanted} {service}, {self._broken(service)} broke lately")

    def rests_on_flawed(self, service: str) -> bool:
        """Whether a release has come so far, as nobody noticed in time, that does not run for long, or at all."""
        shares = [
            one for target in self.premises.table.targets if target.service == service for one in target.split.shares
        ]
        return any(self.premises.flaws.get(one.release) in {"crashes", "deaf"} and one.points for one in shares)

    def _broken(self, service: str) -> int:
        return sum(self.premises.now - at < BROKEN_SECONDS for at in self.floors[service].broke)

    def _serves(self, one: Process) -> bool:
        return one.is_well(self.premises.now) and not one.told_at

    # Processes

    def launched(self, process: Process, among: Iterable[Process]) -> None:
        now, others = self.premises.now, list(among)
        if any(one.port == process.port for one in others):
            self.violate("ports", f"two processes on port {process.port}: {process.name} is the second")
        instance = process.name.rpartition(".")[0]
        if any(one.name.rpartition(".")[0] == instance for one in others):
            self.violate("ports", f"{instance} is started while it runs")
        starts = [at for at in self._starts.get(instance, []) if now - at < STARTS_SECONDS] + [now]
        self._starts[instance] = starts
        if len(starts) > STARTS_MAX:
            self.violate("starts", f"{instance} was started {len(starts)} times in {STARTS_SECONDS:g} s")
        for need in self.needs.get(process.service, ()):
            born = [one for one in self.premises.processes.values() if one.service == need and one.up_at <= now]
            if not born:
                self.violate("order", f"{process.name} is started, and no {need} has ever been ready")

    def told_to_end(self, process: Process, number: int) -> None:
        if number == 9 and not process.told_at and process.born > self.steered_anew:
            self.violate("stops", f"{process.name} is killed before it was told to end")
        if self.stopping and not process.told_at:
            users = [name for name, needs in self.needs.items() if process.service in needs]
            left = [one.name for one in self.premises.alive if one.service in users and not one.told_at]
            if left:
                self.violate("order", f"{process.name} is to end before {left[0]}, which needs it")
        if number == 9 or process.told_at or not self._served_lately(process):
            return
        if any(one.port == process.port and one.state == "up" for one in self._servers()):
            self.violate("stops", f"{process.name} is told to end while it gets requests")
        if process.work:
            self.violate("stops", f"{process.name} is told to end in the middle of {len(process.work)} requests")

    def _served_lately(self, process: Process) -> bool:
        """Whether it was well, and so was the edge, for as long as a stop takes heed of them."""
        now = self.premises.now
        hung = now - max(process.hung_at, process.hung_until) < 60.0
        return process.is_well(now) and not hung and not self.premises.was_away(now - SEEN_SECONDS - PROMPT)

    def _is_broken(self, service: str, release: str) -> bool:
        """Whether some of a service have broken lately, or it was never there, or the release is no good."""
        floor = self.floors[service]
        return bool(self.premises.flaws.get(release)) or not floor.reached or self._broken(service) > 0

    def broke(self, process: Process) -> None:
        if process.service in self.floors and self._serves(process):
            self.floors[process.service].broke += (self.premises.now,)

    # The edge

    def _servers(self) -> list[Server]:
        return [one for pool in self.premises.table.pools for one in pool.servers]

    def shown(self, table: Table, before: Table) -> None:
        del before
        for target in table.targets:
            shares = target.split.shares
            new = shares[0] if len(shares) > 1 else None
            salt = target.split.salt
            if new is None:
                self._shares.pop(target.service, None)
                self._homes = {key: home for key, home in self._homes.items() if key[0] != target.service}
                continue
            last = self._shares.get(target.service)
            if last is not None and last[:2] == (salt, new.release):
                late = self.premises.was_away(self.back.get(salt, 0.0) - 1.0)
                if new.points > last[2] and self.premises.now > self.back.get(salt, 1e9) + 1.0 and not late:
                    self.violate("shares", f"{target.service} {new.release} grows on its way back")
                if salt not in self.back and new.points < last[2]:
                    self.violate("shares", f"{target.service} {new.release} shrinks on its way")
            self._shares[target.service] = (salt, new.release, new.points)
            self._check_there(target.service, new.release, new.points)

    def _check_there(self, service: str, release: str, points: int) -> None:
        shown = [pool for pool in self.premises.table.pools if pool.service == service]
        up = {pool.release: sum(one.state == "up" for one in pool.servers) for pool in shown}
        for name, share in ((release, points), *((one, WHOLE - points) for one in up if one != release)):
            if share and not up.get(name) and not self._is_broken(service, name) and not self.stopping:
                self.violate("shares", f"{service} {name} has {share / 100:g} % of the requests, and nobody is there")

    def sent(self, request: Request, server: Server, process: Process | None) -> None:
        now = self.premises.now
        if server.state != "up":
            self.violate("traffic", f"{server.id} is {server.state}, and is sent a request")
        is_new = process is not None and now < process.up_at and now - process.born > PROMPT
        if process is not None and is_new and not self.premises.was_away(process.born):
            self.violate("traffic", f"{process.name} is sent a request before it was ready")
        if server.id in request.tried:
            self.violate("traffic", f"{request.number} is sent to {server.id} again, where it failed")
        self._check_home(request, process)

    def _check_home(self, request: Request, process: Process | None) -> None:
        """Who has come to a new release stays with it while it grows."""
        share = self._shares.get(request.service)
        if share is None or process is None or request.tried or any(salt in share[0] for salt in self.back):
            return
        _, new, _ = share
        key = (request.service, new, request.user)
        if process.release == new:
            self._homes[key] = new
        elif self._homes.get(key) == new and self._is_up(request.service, new):
            self.violate("visitors", f"{request.user} had {request.service} {new}, and gets {process.release}")

    def _is_up(self, service: str, release: str) -> bool:
        mine = [one for one in self.premises.table.pools if (one.service, one.release) == (service, release)]
        servers = [one for pool in mine for one in pool.servers]
        there = {one.port for one in self.premises.alive if one.is_well(self.premises.now)}
        return (
            bool(servers)
            and not self._is_broken(service, release)
            and all(one.state == "up" and one.port in there for one in servers)
        )

    def ended(self, request: Request, how: str, release: str) -> None:
        if request.handled > 1 and request.method == "POST":
            self.violate("requests", f"a POST of {request.user} was handled {request.handled} times")
        if how == "error":
            harmed = self._harmed[release] = self._harmed.get(release, 0) + 1
            if harmed > HARMED_MAX:
                self.violate("harm", f"{harmed} visitors were answered with errors by {request.service} {release}")

    def ejected(self, server: str, pool: list[str], out: set[str]) -> None:
        if 2 * sum(one in out for one in pool) > len(pool):
            self.violate("traffic", f"{server} is left alone, as are most of {pool}")
