"""Where one request goes, decided: which route, which release, which server. Pure; whoever asks keeps turns and counts.

A table is compiled once, when it comes; each request then asks dictionaries and short tuples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import gcd
from typing import final

import msgspec

from hanse.control.edge_table import WHOLE, EdgeRoute, Pool, Server, Share, Split, Table, Target
from hanse.mesh.rendezvous import score

TURNS_MAX = 10_000
"""Turns after which those of a pool come again; weights that would need more are rounded."""

Draw = Callable[[], float]
"""Gives a number from 0 up to, not including, 1."""

Header = Callable[[str], str]
"""The value of a request's header, by its name in lower case; empty where there is none."""


class Asking(msgspec.Struct, frozen=True):
    """What is looked at of a request.

    Attributes:
        header: Gives its headers.
        cookies: By name.
        address: Of the client.
        may_force: Whether it comes from where a release may be chosen by header.
        release: That of the request tree; empty for none.
    """

    header: Header
    cookies: Mapping[str, str]
    address: str
    may_force: bool = False
    release: str = ""


class Released(msgspec.Struct, frozen=True):
    """Which release answers.

    Attributes:
        release: The one; empty where there is none.
        cookie: Value to set for the split's cookie, so that the next request goes there too; empty to set none.
        forced: Whether the request chose it.
    """

    release: str
    cookie: str = ""
    forced: bool = False


@final
class Choices:
    """A table, compiled to be asked by each request.

    Attributes:
        table: The table.
        targets: By service.
        pools: By service and release.
    """

    def __init__(self, table: Table) -> None:
        """Compile a table whose parts fit together."""
        self.table: Table = table
        self.targets: dict[str, Target] = {target.service: target for target in table.targets}
        self.pools: dict[tuple[str, str], Turns] = {(pool.service, pool.release): Turns(pool) for pool in table.pools}
        self._exact: dict[str, _Paths] = {}
        self._below: dict[str, _Paths] = {}
        self._any = _paths(route for route in table.routes if not route.host)
        for host in {route.host.lower() for route in table.routes if route.host}:
            paths = _paths(route for route in table.routes if route.host.lower() == host)
            if host.startswith("*."):
                self._below[host[1:]] = paths
            else:
                self._exact[host] = paths

    def route(self, host: str, path: str) -> EdgeRoute | None:
        """The route of a request; None where none is for it.

        Args:
            host: As the request names it, perhaps with a port.
            path: Percent-decoded.
        """
        if self._exact or self._below:
            name = _name(host)
            found = _longest(self._exact.get(name, ()), path)
            rest = name
            while found is None and self._below and (dot := rest.find(".", 1)) >= 0:
                rest = rest[dot:]
                found = _longest(self._below.get(rest, ()), path)
            if found is not None:
                return found
        return _longest(self._any, path)

    def release(self, target: Target, asking: Asking, draw: Draw) -> Released:
        """The release that answers a request: the one it forces, or sticks to, or comes with, or one by chance."""
        wanted = asking.header(target.forced_by) if asking.may_force else ""
        if wanted and (target.service, wanted) in self.pools:
            return Released(wanted, forced=True)
        if session := self._session(target, asking):
            return Released(session)
        if asking.release and (target.service, asking.release) in self.pools:
            return Released(asking.release)
        shares = target.split.shares
        if len(shares) == 1:
            return Released(shares[0].release)
        if all(share.points in {0, WHOLE} for share in shares):
            return Released(next(share.release for share in shares if share.points))
        key, cookie = _key(target.split, asking, draw)
        return Released(_share(shares, bucket(target.split.salt, key)), cookie)

    def others(self, target: Target, release: str) -> Iterable[Turns]:
        """The pools that answer where a release has nobody left: of releases with a share, the largest first."""
        shares = sorted(target.split.shares, key=lambda share: -share.points)
        return [self.pools[target.service, one.release] for one in shares if one.points and one.release != release]

    def sticky(self, turns: Turns, asking: Asking) -> Server | None:
        """The server that a visitor's cookie names, if it is of this pool and takes requests."""
        named = asking.cookies.get(turns.pool.sticky, "") if turns.pool.sticky else ""
        return turns.seats.get(named) if named else None

    def _session(self, target: Target, asking: Asking) -> str:
        """The release at which a visitor has a session, on a server that still takes its requests.

        So a session outlives a change of shares: it is ended by whoever drains its server, and by nothing else.
        """
        for (service, release), turns in self.pools.items() if asking.cookies else ():
            if service == target.service and turns.pool.sticky and self.sticky(turns, asking):
                return release
        return ""


class Turns:
    """A pool, and whose turn it is.

    Attributes:
        pool: The pool.
        up: Its servers that take requests.
        order: Servers, each as often as it weighs, spread evenly.
        seats: Those of them with which visitors stay, by what their cookies say.
    """

    __slots__ = ("order", "pool", "seats", "up")

    def __init__(self, pool: Pool) -> None:
        self.pool: Pool = pool
        self.up: tuple[Server, ...] = tuple(one for one in pool.servers if one.state == "up" and one.weight)
        self.order: tuple[Server, ...] = _spread(self.up)
        self.seats: Mapping[str, Server] = {pool.seat(one): one for one in self.up} if pool.sticky else {}

    def pick(
        self, turn: int, asking: Asking, busy: Mapping[str, int], draw: Draw, out: Collection[str]
    ) -> Server | None:
        """Who is next.

        Args:
            turn: How many requests this pool had before.
            asking: The request.
            busy: What is under way at each server.
            draw: Chance.
            out: Ids of those that are not to be asked: they are ejected, or this request failed there.
        """
        if self.pool.balance == "round_robin":
            return self._in_turn(turn, out)
        there = [one for one in self.up if one.id not in out] if out else self.up
        if len(there) <= 1:
            return there[0] if there else None
        if self.pool.balance == "source":
            return max(there, key=lambda one: score(asking.address, one.id, one.weight))
        first, second = int(draw() * len(there)), int(draw() * (len(there) - 1))
        one, other = there[first], there[second + (second >= first)]
        # Those that weigh half are full at half of the requests.
        lighter = (busy.get(other.id, 0) + 1) * one.weight < (busy.get(one.id, 0) + 1) * other.weight
        return other if lighter else one

    def _in_turn(self, turn: int, out: Collection[str]) -> Server | None:
        order = self.order
        for step in range(len(order)):
            server = order[(turn + step) % len(order)]
            if server.id not in out:
                return server
        return None


def bucket(salt: str, key: str) -> int:
    """What sticks, as a number below 10,000, the same wherever it is asked.

    It is the first 4 bytes of the SHA-1 of salt, colon and key: every engine can work it out.

    Example:
        >>> bucket("users-7", "ada")
        557
    """
    digest = hashlib.sha1(f"{salt}:{key}".encode(errors="surrogateescape"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % WHOLE


_Paths = Sequence[tuple[str, EdgeRoute]]


def _paths(routes: Iterable[EdgeRoute]) -> _Paths:
    """Routes by their paths without the last slash, the longest first."""
    return sorted(((route.path.rstrip("/"), route) for route in routes), key=lambda one: -len(one[0]))


def _longest(paths: _Paths, path: str) -> EdgeRoute | None:
    for prefix, route in paths:
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
            return route
    return None


def _name(host: str) -> str:
    """A host without its port, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].rstrip(".").lower()


def _share(shares: Sequence[Share], place: int) -> str:
    end = 0
    for share in shares:
        end += share.points
        if place < end:
            return share.release
    return shares[-1].release


def asker_of(split: Split, asking: Asking) -> str:
    """Who asks, as far as a request says so by what it sticks to; empty for nobody knows.

    Args:
        split: Says where that is read.
        asking: The request.
    """
    # Behind one address there may be many.
    marks = (source for source in split.sticks_to if source != "address")
    found = (_read(asking, *source.split(".", 1)) for source in marks)
    return next(filter(None, found), "") or (asking.cookies.get(split.cookie, "") if split.cookie else "")


def _key(split: Split, asking: Asking, draw: Draw) -> tuple[str, str]:
    """What a request sticks to, and the cookie to set for that."""
    for source in split.sticks_to:
        kind, _, name = source.partition(".")
        found = asking.address if kind == "address" else _read(asking, kind, name)
        if found:
            return found, ""
    if split.cookie and (known := asking.cookies.get(split.cookie, "")):
        return known, ""
    drawn = f"{int(draw() * 2**53):014x}"
    return drawn, drawn if split.cookie else ""


def _read(asking: Asking, kind: str, name: str) -> str:
    return asking.header(name.lower()) if kind == "header" else asking.cookies.get(name, "")


def _spread(servers: Sequence[Server]) -> tuple[Server, ...]:
    """Each server as often as it weighs, its turns as far from each other as can be.

    The turns of one that weighs 2 are at a quarter and at three quarters of the way, and so on; all lie on one line.
    """
    weights = [one.weight for one in servers]
    if len(set(weights)) <= 1:
        return tuple(servers)
    divisor = gcd(*weights)
    if sum(weights) // divisor > TURNS_MAX:
        divisor = -(-sum(weights) // TURNS_MAX)
    parts = [max(1, weight // divisor) for weight in weights]
    places = [((turn + 0.5) / part, index) for index, part in enumerate(parts) for turn in range(part)]
    return tuple(servers[index] for _, index in sorted(places))
