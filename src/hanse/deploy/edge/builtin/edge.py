"""The edge itself: the table in force, who is left alone, and all requests that are under way."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine
from typing import Any, Protocol, final

import msgspec

from hanse.control.edge_choice import Asking, Choices, Released, Turns
from hanse.control.edge_figures import Counts, Figures, Key, Line
from hanse.control.edge_health import Ejected, checked_in_vain, eject, is_back, may_eject, still_out
from hanse.control.edge_people import People
from hanse.control.edge_retry import SAME_SERVER_PAUSE
from hanse.control.edge_table import Server, Table, Target, checked
from hanse.deploy.edge.builtin.http1 import Reading, RequestHead
from hanse.deploy.edge.builtin.mirrors import Mirrors
from hanse.deploy.edge.builtin.probe import probe
from hanse.deploy.edge.builtin.tally import Tally
from hanse.deploy.edge.builtin.upstream import Upstreams
from hanse.gateway.forwarded import Proxies
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

SWEEP_SECONDS = 0.2
"""Between two looks at what waits, and at who may be back."""

KNOWN_MAX = 10_000
"""Addresses of which it is remembered whether they may choose a release."""

_ID = re.compile(r"[!-~]{1,128}")
_log = logging.getLogger("hanse.edge")
_access = logging.getLogger("hanse.access")


class Pick(msgspec.Struct, frozen=True):
    """Who is asked.

    Attributes:
        server: The one.
        release: Its release.
        sticky: Name of the cookie by which the visitor stays with it; empty for none.
        seat: What that cookie says.
        pause: Seconds to wait before, as it failed already and there is nobody else.
    """

    server: Server
    release: str
    sticky: str = ""
    seat: str = ""
    pause: float = 0.0


class Seen(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        address: Of the client.
        trusted: Whether the connection comes from a proxy that is believed.
        may_force: Whether a release may be chosen by header.
    """

    address: str
    trusted: bool
    may_force: bool


class Underway(Protocol):
    """A request or a tunnel, as the edge looks at it."""

    began: float
    status: int
    head: RequestHead
    address: str
    request_id: str
    trace_id: str

    @property
    def server(self) -> str:
        """Id of the server that it is at."""
        ...

    @property
    def waits(self) -> Key | None:
        """For whose answer it waits; None where the head of one has come, or nobody was asked."""
        ...

    def look(self, now: float, /) -> None:
        """Break off what has waited too long."""
        ...

    def cut(self) -> None:
        """Break it off."""
        ...


@final
class Edge:
    """What all connections of one edge share.

    Attributes:
        host: Clocks, chance and ids.
        reading: What reads HTTP.
        loop: The event loop.
        scheme: `http` or `https`.
        choices: The table in force, compiled.
        tally: What is counted.
        people: Who has asked.
        upstreams: Connections to servers.
        mirrors: Copies of requests.
        exchanges: What is under way.
        stopping: Whether no connection is kept open for a next request.
    """

    def __init__(self, host: Host, reading: Reading, *, scheme: str = "http", access_log: bool = False) -> None:
        """Show nothing yet.

        Args:
            host: Clocks, chance and ids.
            reading: What reads HTTP.
            scheme: What clients speak.
            access_log: Whether each request has a line of log.
        """
        self.host: Host = host
        self.reading: Reading = reading
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.scheme: str = scheme
        self.tally: Tally = Tally(host.now())
        self.people: People = People()
        self.upstreams: Upstreams = Upstreams(self.loop, reading)
        self.mirrors: Mirrors = Mirrors()
        self.exchanges: set[Underway] = set()
        self.stopping: bool = False
        self._access_log = access_log
        self._tasks = Tasks(_unexpected)
        self._ejected: dict[str, Ejected] = {}
        self._kept: set[str] = set()
        self._checking: set[str] = set()
        self._quiet: asyncio.Future[None] | None = None
        self._set(Table())

    def apply(self, table: Table) -> None:
        """Show another table, to every request that is read from now on.

        Raises:
            Misconfigured: It does not fit together, or is older than the one in force.
        """
        if table.revision < self.choices.table.revision:
            raise Misconfigured(
                f"the edge shows revision {self.choices.table.revision}; expected a later table, got {table.revision}"
            )
        self._set(checked(table))

    def _set(self, table: Table) -> None:
        # Whoever reads it sees one table or the other: nothing waits in between.
        self._proxies, self._forcing = Proxies(table.proxies), Proxies(table.forcing)
        self._known: dict[str, bool] = {}
        self.choices: Choices = Choices(table)
        self._homes = {
            server.id: (turns, server) for turns in self.choices.pools.values() for server in turns.pool.servers
        }
        up = {server.id for turns in self.choices.pools.values() for server in turns.up}
        out = still_out(self._ejected, up)
        self._ejected = {server: state for server, state in self._ejected.items() if server in out}
        self._kept &= up
        self.upstreams.only({(one.id, one.host, one.port) for _, one in self._homes.values() if one.id in up})

    def seen(self, peer: str, head: RequestHead) -> Seen:
        """Who asks over a connection.

        Args:
            peer: Address at its other end.
            head: What they ask.
        """
        address, trusted = peer, False
        if self.choices.table.proxies:
            trusted = self._proxies.trusts(peer)
            address = self._proxies.seen(peer, lambda name: head.get(name).decode("latin-1")).address
        may_force = self._known.get(address)
        if may_force is None:
            # To read an address, and to look through networks for it, costs as much as the rest of a decision.
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            may_force = self._known[address] = self._forcing.trusts(address)
        return Seen(address, trusted, may_force)

    def request_id(self, head: RequestHead, trace_id: str) -> str:
        """The name of a request: what it brings, or that of its story."""
        came = head.get(b"x-request-id").decode("latin-1")
        return came if came and _ID.fullmatch(came) else trace_id

    def pick(self, target: Target, asking: Asking, released: Released, avoided: set[str]) -> Pick | None:
        """The server for an attempt; None where no release has one.

        Args:
            target: The service.
            asking: The request.
            released: The release that is to answer.
            avoided: Ids of servers at which it failed already.
        """
        home = self.choices.pools.get((target.service, released.release))
        others = () if released.forced else self.choices.others(target, released.release)
        pools = [*([home] if home else []), *others]
        out = self._ejected.keys() | avoided
        for turns in pools:
            if found := self._in_pool(turns, asking, out):
                return found
        for turns in pools:
            if found := self._in_pool(turns, asking, set()):
                return msgspec.structs.replace(found, pause=SAME_SERVER_PAUSE if avoided else 0.0)
        return None

    def has_others(self, target: Target, tried: set[str]) -> bool:
        """Whether a service has servers that are to be asked and are none of these."""
        out = self._ejected.keys() | tried
        pools = (self.choices.pools.get((target.service, share.release)) for share in target.split.shares)
        return any(server.id not in out for turns in pools if turns for server in turns.up)

    def _in_pool(self, turns: Turns, asking: Asking, out: set[str]) -> Pick | None:
        pool = turns.pool
        server = self.choices.sticky(turns, asking)
        if server is None or server.id in out:
            turn = self.tally.turn(pool.service, pool.release)
            server = turns.pick(turn, asking, self.tally.busy, self.host.chance.random, out)
        if server is None:
            return None
        return Pick(server, pool.release, pool.sticky, pool.seat(server) if pool.sticky else "")

    def failed_at(self, server: Server) -> None:
        """A connection to a server was not taken, or broke: it is left alone until it is back."""
        turns, known = self._homes.get(server.id, (None, server))
        if turns is None or known != server or server.id in self._ejected:
            return
        if may_eject(server.id, [one.id for one in turns.up], self._ejected):
            self._ejected[server.id] = eject(self.loop.time())
            self._kept.discard(server.id)
            _log.warning("server %s is left alone: connections to it fail", server.id)
        elif server.id not in self._kept:
            self._kept.add(server.id)
            _log.error("server %s fails, and is kept: too many of its pool do", server.id)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that belongs to no connection."""
        _ = self._tasks.start(work)

    def figures(self) -> Figures:
        """What was counted."""
        figures = self.tally.figures(self.choices.table.revision, tuple(self._ejected), tuple(sorted(self._kept)))
        return msgspec.structs.replace(
            figures, waiting=self._waiting(), mirrored=self.mirrors.sent, unmirrored=self.mirrors.left_out
        )

    def _waiting(self) -> tuple[Line, ...]:
        now = self.host.monotonic()
        found: dict[Key, Counts] = {}
        for one in self.exchanges:
            if (key := one.waits) is not None:
                counts = found.setdefault(key, Counts())
                counts.requests += 1
                counts.took(now - one.began)
        return tuple(Line(key, counts) for key, counts in found.items())

    def cut(self, server: str) -> int:
        """Break off all that is under way at a server; how many these were."""
        there = [one for one in self.exchanges if one.server == server]
        for one in there:
            one.cut()
        return len(there)

    def sweep(self) -> None:
        """Look at what waits, and at who may be back."""
        now = self.loop.time()
        for one in list(self.exchanges):
            one.look(now)
        self.upstreams.sweep(now)
        for server, state in list(self._ejected.items()):
            if state.due <= now and server not in self._checking:
                self._checking.add(server)
                self.start(self._check(server))

    async def _check(self, server: str) -> None:
        """Ask a server that was left alone whether it is back."""
        turns, known = self._homes.get(server, (None, None))
        try:
            if turns is None or known is None:
                return
            back = is_back(await probe(known, turns.pool.health))
            if server in self._ejected and back:
                del self._ejected[server]
                _log.info("server %s is back", server)
            elif state := self._ejected.get(server):
                self._ejected[server] = checked_in_vain(state, self.loop.time())
        finally:
            self._checking.discard(server)

    def over(self, one: Underway) -> None:
        """A request is over."""
        self.exchanges.discard(one)
        if not self.exchanges and self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
        self._tell(one)

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        while self.exchanges:
            self._quiet = self.loop.create_future()
            await self._quiet

    def _tell(self, one: Underway) -> None:
        """The line of log of a request."""
        if not self._access_log:
            return
        seconds = self.host.monotonic() - one.began
        path = one.head.target.partition(b"?")[0][:200].decode("ascii", "backslashreplace")
        about = {
            "http.request.method": one.head.method,
            "url.path": path,
            **({"http.response.status_code": one.status} if one.status else {"error.type": "cancelled"}),
            "http.server.request.duration": round(seconds, 6),
            "client.address": one.address,
            "server": one.server,
            "request_id": one.request_id,
            "trace_id": one.trace_id,
        }
        took = f"{seconds * 1000:.1f} ms"
        _access.info("%s %s %s %s %s", one.head.method, path, one.status or "gone", took, one.server, extra=about)

    async def close(self) -> None:
        """Break off all that is left."""
        for one in list(self.exchanges):
            one.cut()
        self.upstreams.only(set())
        await self._tasks.cancel()


def _unexpected(error: BaseException) -> None:
    _log.error("the edge failed at something", exc_info=error)
