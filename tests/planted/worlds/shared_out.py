"""Looks at who is asked: that each visitor gets the release that is due to them, and keeps it."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING

from hanse.control.edge_table import WHOLE, Server, Table

from .premises import Request

if TYPE_CHECKING:
    from .onlooker import Onlooker

STUCK = frozenset({"api"})
"""Services whose visitors stay with one instance."""

BEGUN_SECONDS = 12.0
"""From the moment at which a share was decided until the edge shows it: it is told late at times."""


class SharedOut:
    """What the edge shows of shares, and who came where."""

    def __init__(self, onlooker: Onlooker) -> None:
        self._onlooker = onlooker
        self.back: dict[str, float] = {}
        self._shares: dict[str, tuple[str, str, int]] = {}
        self._homes: dict[tuple[str, str, str], str] = {}
        self._seats: dict[tuple[str, str], tuple[str, str]] = {}

    @property
    def _table(self) -> Table:
        return self._onlooker.door.table

    def servers(self, service: str, release: str = "") -> list[Server]:
        """Those that the edge shows of a release; without one there are none."""
        mine = [pool for pool in self._table.pools if (pool.service, pool.release) == (service, release)]
        return [one for pool in mine for one in pool.servers]

    def ports(self, state: str = "up") -> set[int]:
        """Where those listen that are shown in a state."""
        return {one.port for pool in self._table.pools for one in pool.servers if one.state == state}

    def points(self, service: str, release: str) -> int:
        """The share of a release, in basis points."""
        target = next((one for one in self._table.targets if one.service == service), None)
        return sum(one.points for one in target.split.shares if one.release == release) if target else 0

    def bearing(self, service: str) -> list[str]:
        """The release that has all requests, if one has."""
        targets = [target for target in self._table.targets if target.service == service]
        return [one.release for target in targets for one in target.split.shares if one.points == WHOLE]

    def is_going_back(self, service: str) -> bool:
        """Whether its rollout is on its way back, or was a moment ago."""
        share = self._shares.get(service)
        return share is not None and share[0] in self.back

    # Tables

    def shown(self, table: Table) -> None:
        """The edge has taken a table."""
        for target in table.targets:
            shares, salt = target.split.shares, target.split.salt
            if len(shares) < 2:
                _ = self._shares.pop(target.service, None)
                self._homes = {key: home for key, home in self._homes.items() if key[0] != target.service}
                continue
            self._check_borne_by_all(target.service, [(one.release, one.points) for one in shares])
            new, last = shares[0], self._shares.get(target.service)
            if last is not None and last[:2] == (salt, new.release):
                self._check_way(target.service, salt, last[2], new.points, new.release)
            self._shares[target.service] = (salt, new.release, new.points)
            grown = last is None or last[0] != salt or new.points > last[2]
            if grown and new.points and salt not in self.back:
                self._check_borne(target.service, new.release)

    def _check_way(self, service: str, salt: str, before: int, points: int, release: str) -> None:
        onlooker = self._onlooker
        since = self.back.get(salt)
        if since is None and points < before:
            onlooker.violate("shares", f"{service} {release} shrinks on its way")
        late = since is not None and (onlooker.now < since + 1.0 or onlooker.door.was_away(since - 1.0))
        if since is not None and points > before and not late:
            onlooker.violate("shares", f"{service} {release} grows on its way back")

    def _check_borne(self, service: str, release: str) -> None:
        """Whoever is given more is there, unless it broke since that was decided."""
        onlooker = self._onlooker
        pools = [pool for pool in self._table.pools if (pool.service, pool.release) == (service, release)]
        up = sum(one.state == "up" for pool in pools for one in pool.servers)
        lately = [
            one
            for one in onlooker.excuses.of(service)
            if one.release == release and (one.at > onlooker.now - BEGUN_SECONDS or onlooker.door.was_away(one.at))
        ]
        if not up and not lately and not onlooker.stopping:
            onlooker.violate("shares", f"{service} {release} is given more of the requests, and nobody is there")

    def _check_borne_by_all(self, service: str, shares: list[tuple[str, int]]) -> None:
        """Whoever has all requests is there, unless it broke: then the other one may be there, and gets none."""
        onlooker = self._onlooker
        up = {release for release, _ in shares if any(one.state == "up" for one in self.servers(service, release))}
        bears = next((release for release, points in shares if points == WHOLE), "")
        excused = any(one.release == bears for one in onlooker.excuses.of(service)) or onlooker.stopping
        if bears and up and bears not in up and not excused and onlooker.reached[service]:
            onlooker.violate("shares", f"{service} {bears} has all requests, and only {up} is there")

    # Visitors

    def sent(self, request: Request, release: str, server: Server) -> None:
        """A request goes to somebody of a release."""
        if request.tried:
            return
        service, user, due = request.service, request.user, self._due(request)
        seat = self._seats.get((service, user))
        if seat is not None and seat != (server.id, release) and self._takes(service, *seat):
            what = f"{user} asks {service}, has a session at {seat[0]} of {seat[1]}, and comes to {server.id}"
            self._onlooker.violate("sessions", what)
        if release != due and self._is_up(service, due) and not self._has_seat(request, release, server):
            what = f"{user} asks {service}, is due to {due}, and comes to {server.id} of {release}"
            self._onlooker.violate("visitors", what)
        if not self.points(service, release) and not self._has_seat(request, release, server):
            self._onlooker.violate("visitors", f"{user} asks {service}, and comes to {release}, which has no share")
        share = self._shares.get(service)
        if share is None or share[0] in self.back:
            return
        key = (service, share[1], user)
        if release == share[1] == due:
            self._homes[key] = release
        elif self._homes.get(key) and self._is_up(service, share[1]) and not self._has_seat(request, release, server):
            self._onlooker.violate("visitors", f"{user} had {service} {share[1]}, and comes to {release}")

    def seated(self, request: Request, server: Server, release: str) -> None:
        """A visitor was told to stay with a server."""
        self._seats[request.service, request.user] = (server.id, release)

    def _has_seat(self, request: Request, release: str, server: Server) -> bool:
        return self._seats.get((request.service, request.user)) == (server.id, release)

    def _takes(self, service: str, server: str, release: str) -> bool:
        """Whether a server is shown as up, and is not left alone."""
        there = [one for one in self.servers(service, release) if one.id == server]
        return any(one.state == "up" and one.weight for one in there) and not self._onlooker.door.is_out(server)

    def _due(self, request: Request) -> str:
        """Whom they come to by the hash of who they are."""
        target = next(one for one in self._table.targets if one.service == request.service)
        salt, shares = target.split.salt, target.split.shares
        place = int.from_bytes(sha1(f"{salt}:{request.user}".encode()).digest()[:4], "big") % WHOLE
        return shares[0].release if len(shares) < 2 or place < shares[0].points else shares[1].release

    def _is_up(self, service: str, release: str) -> bool:
        """Whether anybody of a release is shown who is not left alone."""
        pools = [pool for pool in self._table.pools if (pool.service, pool.release) == (service, release)]
        out = self._onlooker.door.is_out
        return any(one.state == "up" and not out(one.id) for pool in pools for one in pool.servers)
